"""A provisioning file with mistakes: the device says each of them, where it was written and on its console, and goes on as it was."""

import pytest

from fieldgate_testing.image.appliance import FILE
from fieldgate_testing.image.disk import Disk
from fieldgate_testing.image.guest import Guest

SECRET = "MDEyMzQ1Njc4OWFiY2RlZg=="
DOCUMENT = f"""name: Gate 7
network:
  interfaces:
    - {{name: eth0, addresses: [192.168.1.300/24]}}
time: {{zone: Europe Berlin}}
hub: {{connection_string: HostName=hub.example;DeviceId=gate-7;SharedAccessKey={SECRET}}}
ssh: [not a key]
moduls: {{}}
"""
# Line and key of each mistake.
MISTAKES = ("1:7: name", "4:", "5:", "7:", "8:1: moduls")
ERRORS = "fieldgate-provision.errors.txt"


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("invalid")
    disk = Disk(folder / "disk.img")
    disk.put({FILE: DOCUMENT})
    guest = Guest(disk, folder)
    yield guest
    guest.stop()
    disk.path.unlink()


def test_every_mistake_is_on_the_console_and_in_a_file_beside_it(guest):
    guest.wait_stage("system")
    guest.wait_console("nobody has claimed this device")
    said = guest.console()
    missing = [mistake for mistake in MISTAKES if mistake not in said]
    assert not missing, said
    guest.stop()
    beside = guest.disk.boot_file(ERRORS)
    missing = [mistake for mistake in MISTAKES if mistake not in beside]
    assert not missing, beside
    # It was not taken over: it stays with the person who has to mend it, and nothing repeats it.
    assert guest.disk.boot_file(FILE) == DOCUMENT
    assert SECRET not in said + beside
    assert not guest.disk.read("etc/hostname")
