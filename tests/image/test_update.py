"""Updates of a device that works: into the other slot, confirmed when the whole appliance is well there, back by itself when it is not. Nothing that was
read is missing at the hub afterwards."""

import hashlib

import pytest

from fieldgate_testing.cluster import reports
from fieldgate_testing.image.bundles import module_that_is_never_ready, other_keys
from fieldgate_testing.image.evidence import nothing_missing, settled, slot, update_status
from fieldgate_testing.waiting import wait_for


pytestmark = pytest.mark.usefixtures("running")


def refused(guest, bundle, url):
    """What the device says that refuses this bundle; it goes on in the slot it is in."""
    before = slot(guest), guest.ssh("cat /efi/loader/entries/*.conf; ls /efi/loader/entries")
    said = guest.ssh(f"fieldgate update install {url(bundle)} 2>&1; echo status $?")
    assert "status 0" not in said, said
    assert (slot(guest), guest.ssh("cat /efi/loader/entries/*.conf; ls /efi/loader/entries")) == before
    return said


def test_a_bundle_of_somebody_else_is_refused(guest, bundles, web, tmp_path):
    said = refused(guest, bundles.small("foreign", "0.9.0", keys=other_keys(tmp_path / "keys")), web.url)
    assert "signature" in said, said


def test_a_bundle_for_other_hardware_is_refused(guest, bundles, web):
    said = refused(guest, bundles.small("other", "0.9.0", machine="other-arm64"), web.url)
    assert "fieldgate-other-arm64" in said and f"fieldgate-{bundles.machine}" in said, said


def test_an_older_bundle_is_refused(guest, bundles, web):
    said = refused(guest, bundles.small("old", "0.0.9"), web.url)
    assert "0.0.9" in said and "--allow-downgrade" in said, said


def test_a_bundle_that_is_not_the_announced_one_is_refused(guest, bundles, web):
    bundle = bundles.small("changed", "0.9.0")
    said = refused(guest, bundle, lambda one: f"{web.url(one)} --sha256 {'0' * 64}")
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in said, said


def test_a_power_cut_during_the_installation_leaves_the_device_as_it_was(system, guest, bundles, web):
    bundle = bundles.make("good", "0.9.0")
    was = slot(guest)
    guest.ssh(f"systemd-run --unit=update fieldgate update install {web.url(bundle)} --no-reboot")
    wait_for(lambda: (update_status(guest)["last"] or {}).get("result") == "installing", "RAUC to write the other slot", timeout=600, interval=1)
    boot = len(guest.stages()) + 1
    guest.stop()
    guest.start()
    settled(system, boot)
    assert slot(guest) == was
    nothing_missing(system)


def test_an_update_is_confirmed_when_the_appliance_is_well(system, guest, bundles, web, capsys):
    bundle = bundles.folder / "good.raucb"
    was, boot = slot(guest), len(guest.stages()) + 1
    # The line breaks once on the way.
    web.cut_after, web.asked = bundle.stat().st_size // 2, []
    begun = float(guest.ssh("cut -d' ' -f1 /proc/uptime"))
    guest.ssh(f"fieldgate update install {web.url(bundle)} --version 0.9.0 --no-reboot", timeout=900)
    took = float(guest.ssh("cut -d' ' -f1 /proc/uptime")) - begun
    assert any(start > 0 for start in web.asked), "the download was not taken up where it broke off"
    guest.ssh("systemctl reboot", check=False)
    times = settled(system, boot)
    now = wait_for(lambda: (status := update_status(guest))["last"]["result"] == "confirmed" and status, "the update to be confirmed", timeout=600, interval=5)
    path = reports.write("image-update", {"seconds": times, "installation": took, "bundle": bundle.stat().st_size})
    with capsys.disabled():
        print(f"\nupdate (kept in {path}): installed in {took:.0f} s, then {times}")
    assert slot(guest) != was and now["version"] == "0.9.0"
    # Not counted any more.
    wait_for(lambda: "+" not in guest.ssh("ls /efi/loader/entries"), "the slot to be marked good", timeout=60, interval=2)
    nothing_missing(system)


def test_an_update_with_a_module_that_never_works_goes_back_by_itself(system, guest, bundles, web):
    bundle = bundles.make("bad", "0.9.1", change=module_that_is_never_ready)
    was, boot = slot(guest), len(guest.stages()) + 1
    guest.ssh("mkdir -p /etc/fieldgate && echo FIELDGATE_GATE_LIMIT=7m >/etc/fieldgate/update.env")
    guest.ssh(f"fieldgate update install {web.url(bundle)}", timeout=900, check=False)
    # The new system, then the one before.
    wait_for(lambda: len(guest.stages()) > boot, "the device to go back", timeout=1500, interval=5)
    settled(system, boot + 1)
    # The next ones have the time that a device has.
    guest.ssh("rm /etc/fieldgate/update.env")
    now = update_status(guest)
    assert slot(guest) == was and now["version"] == "0.9.0"
    assert now["last"]["result"] == "reverted" and "modbus-reader" in str(now["last"]["reasons"]), now
    nothing_missing(system)
