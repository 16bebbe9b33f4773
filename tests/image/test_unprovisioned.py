"""A device that nobody has provisioned: it starts, says who it is, and lets nobody in."""

import pytest

from fieldgate_testing.image.disk import Disk
from fieldgate_testing.image.guest import Guest
from fieldgate_testing.waiting import wait_for


@pytest.fixture(scope="module")
def guest(tmp_path_factory, wire):
    folder = tmp_path_factory.mktemp("unprovisioned")
    disk = Disk(folder / "disk.img")
    guest = Guest(disk, folder, "--wire", f"{wire.own}:{wire.qemu}")
    yield guest
    guest.stop()
    disk.path.unlink()


def test_the_console_says_name_address_and_how_to_go_on_and_asks_for_no_password(guest):
    guest.wait_stage("system")
    wait_for(lambda: "10.0.2.15" in guest.console(), "the address on the console", timeout=120, interval=1)
    said = guest.console()
    assert "fieldgate-" in said and "nobody has claimed this device" in said
    assert "login:" not in said and "assword" not in said


def test_no_port_answers(guest, wire):
    assert wire.open_ports("10.0.2.15") == set()


def test_somebody_in_front_of_it_claims_it_on_the_console(guest):
    guest.type("\n")
    guest.wait_console("Name of the device")
    guest.type("Gate 7\n")
    guest.wait_console("name: ")
    for answer in ("gate-7", "", ""):
        guest.type(f"{answer}\n")
    # Name and state, now that it has one.
    guest.wait_console("\ngate-7, fieldgate ".replace("\n", "  "))
    guest.wait_console("a provisioning file with a key under ssh opens SSH")
