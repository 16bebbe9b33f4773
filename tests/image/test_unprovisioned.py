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
    assert "fieldgate-" in said and "no way in: " in said
    assert "login:" not in said and "assword" not in said


def test_no_port_answers(guest, wire):
    assert wire.open_ports("10.0.2.15") == set()
