"""The device agent on a device that works: updates by direct method and by desired property, and what it refuses."""

import hashlib

import pytest

from fieldgate_testing import main_job
from fieldgate_testing.image.evidence import slot
from fieldgate_testing.waiting import wait_for

# Longer than any of its commands may take: a deadline on the way is told with its name.
SECONDS = 70


pytestmark = pytest.mark.usefixtures("running")


def call(system, command, payload=None):
    return system.hub.call(main_job.DEVICE, f"device-agent.{command}", payload or {}, seconds=SECONDS)


def details(system):
    return main_job.reported(system, "device-agent").get("details") or {}


def waited(system, look, what, timeout):
    try:
        return wait_for(look, what, timeout, interval=2)
    except AssertionError as error:
        raise AssertionError(f"{error}\nreported: {details(system)}\n{system.explain()}") from None


def reported(system, where, what, timeout=600):
    """The details of the agent among the reported properties, once they fit."""
    return waited(system, lambda: next((found for found in [details(system)] if found and where(found)), None), what, timeout)


def announced(bundle, url, version):
    return {"uri": url(bundle), "sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(), "version": version}


def updated(system, was, boot, version):
    """Waits until the device has it, has started into the other slot and keeps it."""
    # It is fetched, checked and written first, which no stage of a start has the time for.
    waited(system, lambda: len(system.guest.stages()) >= boot, f"the restart into {version}", timeout=1200)
    system.guest.wait_stage("running", boot=boot)
    found = reported(system, lambda found: found.get("update", {}).get("version") == version and found["update"]["result"] == "confirmed", f"the update to {version} to be confirmed", timeout=1200)
    assert slot(system.guest) != was and found["system"]["version"] == version, found
    return found


def test_only_the_group_of_the_pod_may_connect(guest):
    folder = "/var/lib/fieldgate/volumes/device-agent-host"
    assert guest.ssh(f"stat -c '%U %g %a' {folder}/agent.sock").split() == ["root", "65531", "660"]
    # Nothing of it runs while nobody asks.
    assert guest.ssh("systemctl is-active fieldgate-agent.socket").strip() == "active"
    pod = guest.get("pods", selector="fieldgate.io/module=device-agent")["items"][0]
    assert "hostPath" not in str(pod["spec"])
    for groups, allowed in (("--clear-groups", False), ("--groups 65531", True)):
        # What connect(2) asks for, too.
        found = guest.ssh(f"setpriv --reuid 65532 --regid 65532 {groups} test -w {folder}/agent.sock && echo yes || echo no").strip()
        assert found == ("yes" if allowed else "no"), groups


def test_health_and_status_are_those_of_the_device(system):
    answer = call(system, "health")
    assert answer["status"] == 200 and answer["payload"]["checks"], answer
    # Until this start's status is there, the twin has that of the one before.
    now = slot(system.guest)
    found = reported(system, lambda found: found.get("system", {}).get("slot") == now, f"slot {now} in the twin")
    assert found["name"] == main_job.APPLIANCE


def test_a_reset_with_another_device_s_name_is_refused(system, guest):
    answer = call(system, "reset", {"name": "somebody-else", "preserve": []})
    assert answer["status"] == 422 and answer["payload"]["error"]["field"] == "name", answer
    assert main_job.APPLIANCE in answer["payload"]["error"]["message"]
    assert guest.ssh("ls /data/fieldgate-reset.json 2>&1", check=False).endswith("No such file or directory\n")


def test_a_desired_property_with_another_hash_is_given_up_with_the_reason(system, guest, bundles, web):
    bundle = bundles.small("not-this-one", "0.9.4")
    was = slot(guest)
    system.hub.desire(main_job.DEVICE, {"update": {**announced(bundle, web.url, "0.9.4"), "sha256": "0" * 64}})
    found = reported(system, lambda found: found["desired"].get("version") == "0.9.4" and found["desired"]["state"] == "given-up", "the update to be given up")
    assert "SHA-256" in found["desired"]["reason"] and found["request"]["attempts"] == 1
    assert slot(guest) == was


def test_a_direct_method_installs_a_bundle(system, guest, bundles, web):
    system.hub.desire(main_job.DEVICE, {"update": None})
    bundle = bundles.make("by-method", "0.9.5")
    was, boot = slot(guest), len(guest.stages()) + 1
    answer = call(system, "update", announced(bundle, web.url, "0.9.5"))
    assert answer["status"] == 200, answer
    busy = call(system, "update", announced(bundle, web.url, "0.9.5"))
    assert busy["status"] == 409 and busy["payload"]["error"]["code"] == "busy", busy
    found = updated(system, was, boot, "0.9.5")
    assert found["request"]["origin"] == "method"
    bundle.unlink()


def test_a_desired_property_installs_a_bundle_once(system, guest, bundles, web):
    bundle = bundles.make("by-property", "0.9.6")
    was, boot = slot(guest), len(guest.stages()) + 1
    system.hub.desire(main_job.DEVICE, {"update": announced(bundle, web.url, "0.9.6")})
    found = updated(system, was, boot, "0.9.6")
    assert found["desired"]["state"] in ("current", "none") and found["request"]["attempts"] == 1, found
    system.hub.desire(main_job.DEVICE, {"update": None})
    bundle.unlink()


def test_a_direct_method_restarts_the_device(system, guest):
    was, boot = slot(guest), len(guest.stages()) + 1
    assert call(system, "restart")["payload"] == {"seconds": 5}
    guest.wait_stage("running", boot=boot)
    assert slot(guest) == was
