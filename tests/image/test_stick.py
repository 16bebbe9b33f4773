"""A stick with a provisioning file: the device is what it says without a restart, and the secret is gone from the stick."""

import pytest

from fieldgate_testing.image.appliance import FILE
from fieldgate_testing.image.disk import Disk
from fieldgate_testing.image.guest import Guest, make_key
from fieldgate_testing.image.stick import Stick
from fieldgate_testing.waiting import wait_for

SECRET = "MDEyMzQ1Njc4OWFiY2RlZg=="


@pytest.fixture(scope="module")
def stick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stick")
    document = f"name: gate-8\nhub: {{connection_string: HostName=hub.example;DeviceId=gate-8;SharedAccessKey={SECRET}}}\nssh: [{make_key(folder).strip()}]\n"
    return Stick(folder / "stick.img", {FILE: document})


@pytest.fixture(scope="module")
def guest(stick):
    disk = Disk(stick.path.with_name("disk.img"))
    guest = Guest(disk, stick.path.parent, *stick.qemu())
    yield guest
    guest.stop()
    disk.path.unlink()


def test_the_device_is_as_the_stick_says_without_a_restart(guest, stick):
    assert stick.holds(SECRET)
    guest.wait_stage("system")
    guest.wait_console("gate-8, fieldgate ", timeout=180)
    # The key lets in, because SSH was started by the provisioning.
    said = wait_for(lambda: guest.ssh("hostname; cat /data/fieldgate/provision/secrets/hub-connection-string", check=False), "SSH", timeout=120, interval=2)
    assert said.split() == ["gate-8", f"HostName=hub.example;DeviceId=gate-8;SharedAccessKey={SECRET}"]
    assert len(guest.stages()) == 1
    # The demonstration is delivered now that there is a hub.
    assert guest.ssh("/usr/lib/fieldgate/description").strip() == "/usr/share/fieldgate/demo/delivering.yaml"


def test_the_secret_is_gone_from_the_stick(guest, stick):
    wait_for(lambda: "media" not in guest.ssh("cat /proc/mounts"), "the stick to be let go", timeout=60, interval=1)
    assert not stick.holds(SECRET)
    assert "<taken>" in stick.read(FILE)
