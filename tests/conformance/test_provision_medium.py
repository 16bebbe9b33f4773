"""fieldgate provision on a real FAT medium: after it, no byte of the medium holds a secret, not even one that no file has any more."""

import contextlib
import pathlib
import shutil
import subprocess

import pytest

from fieldgate_testing.process import program
from fieldgate_testing.waiting import wait_for

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
PASSPHRASE = "correct horse battery"
PASSWORD = "hunter2hunter2"
DOCUMENT = f"""# The passphrase was {PASSPHRASE}
name: gate-7
network:
  interfaces:
  - {{name: wlan0, wifi: {{ssid: hall, passphrase: "{PASSPHRASE}"}}}}
  proxy:
    http: |-
      http://user:{PASSWORD}@proxy:3128
hub: {{connection_string: {{file: the hub.txt}}}}
"""
SECRETS = [KEY, PASSPHRASE, PASSWORD]

pytestmark = pytest.mark.usefixtures("root_of_the_machine")


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def mounted(medium, place):
    """By the kernel, as on the device; where it has no vfat, by a driver outside of it."""
    place.mkdir(exist_ok=True)
    driver = None
    done = subprocess.run(["mount", "-t", "vfat", "-o", "loop", medium, place], capture_output=True, text=True)
    if done.returncode != 0:
        assert "unknown filesystem type" in done.stderr, done.stderr
        assert shutil.which("fusefat"), "this kernel has no vfat: apt-get install fusefat"
        driver = subprocess.Popen(["fusefat", "-f", "-o", "rw+", str(medium), str(place)])
        wait_for(place.is_mount, "fusefat to mount the medium", timeout=30)
    try:
        yield place
    finally:
        run("umount", place)
        if driver:
            # It goes on writing after the unmount.
            assert driver.wait(timeout=30) == 0


@pytest.fixture()
def medium(tmp_path):
    path = tmp_path / "medium.img"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    run("mkfs.vfat", "-F32", path)
    for name, content in [("fieldgate-provision.yaml", DOCUMENT), ("the hub.txt", f"HostName=h.example;DeviceId=gate-7;SharedAccessKey={KEY}")]:
        file = tmp_path / name
        file.write_text(content)
        run("mcopy", "-i", path, file, "::")
    return path


def found(medium):
    raw = medium.read_bytes()
    return [secret for secret in SECRETS if secret.encode() in raw]


def released(medium):
    """The medium's bytes, once nothing holds it."""
    run("sync")
    run("fsck.vfat", "-n", medium)
    return found(medium)


def provision(place, device):
    return subprocess.run([program("fieldgate"), "provision", "--search", place, "--root", device], capture_output=True, text=True)


def test_no_secret_is_left_on_the_medium(medium, tmp_path):
    assert found(medium) == SECRETS
    device = tmp_path / "device"
    device.mkdir()
    with mounted(medium, tmp_path / "place") as place:
        done = provision(place, device)
        assert done.returncode == 0, done.stderr
        assert "wiped the secrets" in done.stdout
    assert released(medium) == []
    assert "the hub.txt" not in run("mdir", "-b", "-i", medium, "::")
    stored = pathlib.Path(device, "data/fieldgate/provision/secrets")
    assert KEY in (stored / "hub-connection-string").read_text()
    assert (stored / "wifi-wlan0").read_text() == PASSPHRASE

    with mounted(medium, tmp_path / "place") as place:
        done = provision(place, device)
        assert done.returncode == 0 and "nothing to do" in done.stdout, done


def test_a_medium_with_mistakes_keeps_its_secrets_and_is_told_why(medium, tmp_path):
    device = tmp_path / "device"
    device.mkdir()
    document = tmp_path / "fieldgate-provision.yaml"
    document.write_text(DOCUMENT.replace("gate-7", "Gate-7"))
    run("mcopy", "-o", "-i", medium, document, "::")
    with mounted(medium, tmp_path / "place") as place:
        done = provision(place, device)
        assert done.returncode == 78, done
        errors = (place / "fieldgate-provision.errors.txt").read_text()
        assert ":2:7: name:" in errors
    assert released(medium) == SECRETS
