"""fieldgate flash against the tools that make and read disks: sfdisk, dosfstools, mtools, zstd, loop devices."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import zlib

import pytest

from fieldgate_testing.process import program
from fieldgate_testing.waiting import wait_for

MIB = 1 << 20
HUB = "HostName=h.example;DeviceId=gate-7;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="
DOCUMENT = "name: gate-7\nhub: {connection_string: {file: hub.txt}}\nmodules: {modbus-reader: {configuration: the reader.yaml}}\n"
BESIDE = {"hub.txt": HUB, "the reader.yaml": "links: []\n"}
ESP_START = MIB
EXIT_INVALID = 78
EXIT_STOPPED = 130


def run(*command, **more):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, **more).stdout


def flash(*arguments):
    return subprocess.run([program("fieldgate"), "flash", *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def pattern(length):
    """Content that is nowhere zero and repeats late."""
    words = b"".join(zlib.crc32(n.to_bytes(4, "big")).to_bytes(4, "big") for n in range(65537))
    return (words * (length // len(words) + 1))[:length].replace(b"\0", b"\1")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """As scripts/build-image makes one, smaller: boot partition with a loader, two roots, of which one is empty, data."""
    folder = tmp_path_factory.mktemp("image")
    disk, esp = folder / "disk.img", folder / "esp.img"
    with open(disk, "wb") as file:
        file.truncate(140 * MIB)
    table = "label: gpt\nname=esp, size=64MiB, type=uefi\nname=root-a, size=24MiB\nname=root-b, size=24MiB\nname=data, size=24MiB\n"
    run("sfdisk", "--quiet", disk, input=table.encode())
    with open(esp, "wb") as file:
        file.truncate(64 * MIB)
    run("mkfs.vfat", "-F32", "-n", "ESP", esp)
    run("mmd", "-i", esp, "::loader")
    with open(disk, "r+b") as file:
        file.seek(ESP_START)
        file.write(esp.read_bytes())
        file.seek(65 * MIB + 4096)
        file.write(pattern(20 * MIB + 512))
    return disk


@pytest.fixture(scope="module")
def packed(image):
    """The image as a stream does it: without its size."""
    path = image.with_name("disk.img.zst")
    with open(image, "rb") as source, open(path, "wb") as target:
        subprocess.run(["zstd", "-q", "-c"], stdin=source, stdout=target, check=True)
    return path


@pytest.fixture()
def document(tmp_path):
    path = tmp_path / "gate-7.yaml"
    path.write_text(DOCUMENT)
    for name, content in BESIDE.items():
        (tmp_path / name).write_text(content)
    return path


def on_boot_partition(disk, name):
    return run("mtype", "-i", f"{disk}@@{ESP_START}", f"::{name}").decode()


def check_boot_partition(disk, document):
    assert on_boot_partition(disk, "fieldgate-provision.yaml") == DOCUMENT
    for name, content in BESIDE.items():
        assert on_boot_partition(disk, name) == content
    assert "loader" in run("mdir", "-b", "-i", f"{disk}@@{ESP_START}", "::").decode()
    copy = document.with_name("esp.img")
    with open(disk, "rb") as file:
        file.seek(ESP_START)
        copy.write_bytes(file.read(64 * MIB))
    run("fsck.vfat", "-n", copy)


def check_content(disk, image):
    """Everything outside the tables and the boot partition is as in the image."""
    with open(disk, "rb") as one, open(image, "rb") as other:
        for file in (one, other):
            file.seek(65 * MIB)
        assert one.read(74 * MIB) == other.read(74 * MIB)


def test_a_file_becomes_the_image_and_knows_its_device(image, packed, document, tmp_path):
    target = tmp_path / "target.img"
    done = flash(packed, target, "--provision", document)
    assert done.returncode == 0, done.stderr
    assert "verified 140.0 MiB" in done.stdout and "wrote hub.txt onto" in done.stdout
    assert target.stat().st_size == 140 * MIB
    assert target.stat().st_blocks * 512 < 80 * MIB, "empty blocks take no room"
    assert b"No errors" in run("sfdisk", "--verify", target)
    check_boot_partition(target, document)
    check_content(target, image)


def test_without_provisioning_a_file_is_the_image_byte_by_byte(image, packed, tmp_path):
    target = tmp_path / "target.img"
    for source in (image, packed):
        done = flash(source, target, "--yes")
        assert done.returncode == 0, done.stderr
        run("cmp", image, target)


def test_nothing_is_erased_before_everything_was_looked_at(image, document, tmp_path):
    target = tmp_path / "precious.img"
    target.write_bytes(b"precious")
    document.write_text("name: Gate\nhub: {connection_string: <taken>}\n")
    done = flash(image, target, "--provision", document, "--yes")
    assert done.returncode == EXIT_INVALID
    assert ":1:7: name:" in done.stderr and "write the value anew" in done.stderr
    for arguments, words in [
        ((image, target), "--yes"),
        ((image, image, "--yes"), "is the image itself"),
        ((document, target, "--yes"), "no partition table"),
        ((image, "/dev/no-such-disk", "--yes"), "is it plugged in?"),
        ((image, tmp_path, "--yes"), "neither a disk nor a file"),
        ((image, tmp_path / "no" / "folder"), "no folder"),
        ((image,), "name the disk"),
    ]:
        done = flash(*arguments)
        assert done.returncode == 1 and words in done.stderr, (arguments, done.stderr)
    assert target.read_bytes() == b"precious"


def test_a_download_that_was_cut_off_is_told(image, packed, tmp_path):
    short = tmp_path / "short.img"
    run("cp", "--sparse=always", image, short)
    os.truncate(short, 120 * MIB)
    done = flash(short, tmp_path / "target.img")
    assert done.returncode == 1 and "downloaded to its end" in done.stderr
    short.write_bytes(packed.read_bytes()[:-1000])
    target = tmp_path / "target.img"
    done = flash(short, target)
    assert done.returncode == 1 and "short.img" in done.stderr
    assert target.read_bytes()[: 1 << 20] == bytes(1 << 20), "what is not whole has no partition table"


# ---- disks


@contextlib.contextmanager
def loop_device(backing, size):
    """A disk that is a file, and full of something else before."""
    with open(backing, "wb") as file:
        file.write(pattern(2 * MIB))
        file.truncate(size)
        file.seek(max(0, size - MIB))
        file.write(pattern(min(size, MIB)))
    device = run("losetup", "--find", "--show", "--partscan", backing).decode().strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.fixture()
def disk(tmp_path):
    with loop_device(tmp_path / "backing.img", 200 * MIB + 512) as device:
        yield device


@pytest.mark.usefixtures("root_of_the_machine")
def test_a_disk_gets_image_tables_and_provisioning_file(image, packed, disk, document):
    done = flash(packed, disk, "--yes", "--fixed-disk", "--provision", document)
    assert done.returncode == 0, done.stderr
    assert f"Erases everything on {disk}, 200.0 MiB" in done.stdout and "may be taken out" in done.stdout
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    sectors = (200 * MIB + 512) // 512
    assert table["lastlba"] == sectors - 34, "the table knows the whole disk"
    assert [part["name"] for part in table["partitions"]] == ["esp", "root-a", "root-b", "data"]
    checked = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True)
    assert "No errors" in checked.stdout and "backup" not in checked.stderr and "mismatch" not in checked.stderr, checked
    check_boot_partition(disk, document)
    check_content(disk, image)
    with open(disk, "rb") as file:
        file.seek(140 * MIB)
        between = file.read(60 * MIB + 512 - 33 * 512)
    assert between[: 59 * MIB] == bytes(59 * MIB) and between.endswith(bytes(512)), "no old table is left"


@pytest.mark.usefixtures("root_of_the_machine")
@pytest.mark.parametrize("more", [["--no-verify"], []])
def test_a_disk_keeps_nothing_old_where_the_image_is_empty(image, disk, more):
    with open(disk, "r+b") as file:
        file.write(pattern(180 * MIB))
        os.fsync(file.fileno())
    done = flash(image, disk, "--yes", "--fixed-disk", *more)
    assert done.returncode == 0, done.stderr
    check_content(disk, image)


@pytest.mark.usefixtures("root_of_the_machine")
def test_a_disk_that_is_in_use_built_in_or_too_small_is_left_alone(image, packed, disk, tmp_path):
    done = flash(image, disk, "--yes")
    assert done.returncode == 1 and "--fixed-disk" in done.stderr
    with loop_device(tmp_path / "small.img", 100 * MIB) as small:
        done = flash(packed, small, "--yes", "--fixed-disk")
        assert done.returncode == 1 and "take a larger one" in done.stderr
        assert pathlib.Path(tmp_path / "small.img").read_bytes()[:MIB] == pattern(MIB)
    run("mkfs.ext4", "-q", "-F", disk)
    place = tmp_path / "a place"
    place.mkdir()
    run("mount", disk, place)
    try:
        done = flash(image, disk, "--yes", "--fixed-disk")
        assert done.returncode == 1 and f"is mounted at {place}" in done.stderr, done.stderr
    finally:
        run("umount", place)
    # The kernel's word, whatever was seen before: somebody else has taken it.
    holder = os.open(disk, os.O_RDONLY | os.O_EXCL)
    try:
        done = flash(image, disk, "--yes", "--fixed-disk")
        assert done.returncode == 1 and "in use by another program" in done.stderr, done.stderr
    finally:
        os.close(holder)


@pytest.mark.usefixtures("root_of_the_machine")
def test_a_disk_that_fails_is_told_and_has_no_table(image, tmp_path):
    """Larger than what is behind it: as sticks are that lie about their size."""
    place = tmp_path / "full"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", place)
    try:
        with loop_device(place / "backing.img", 200 * MIB) as disk:
            done = flash(image, disk, "--yes", "--fixed-disk")
            assert done.returncode == 1, done.stdout
            assert f"{disk} at " in done.stderr and "try another" in done.stderr, done.stderr
            with open(disk, "rb") as file:
                assert file.read(MIB) == bytes(MIB)
    finally:
        run("umount", place)


@pytest.mark.usefixtures("root_of_the_machine")
def test_ctrl_c_stops_it_and_says_what_the_disk_is_now(tmp_path):
    image = tmp_path / "large.img"
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
    run("sfdisk", "--quiet", image, input=b"label: gpt\n")
    with loop_device(tmp_path / "backing.img", 512 * MIB) as disk:
        log = tmp_path / "log"
        with open(log, "wb") as errors:
            # Every byte is written: that lasts.
            command = [program("fieldgate"), "flash", image, disk, "--yes", "--fixed-disk", "--no-verify"]
            process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL)
        wait_for(lambda: b"writing" in log.read_bytes(), "the first line of progress", 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == EXIT_STOPPED, log.read_text()
        assert "stopped after" in log.read_text() and disk in log.read_text()
        with open(disk, "rb") as file:
            assert file.read(MIB) == bytes(MIB)
