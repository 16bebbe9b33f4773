"""What scripts/build-images made: whole, small, harmless."""

import json
import os
import pathlib
import subprocess

import pytest

from fieldgate_testing.process import program

IMAGES = pathlib.Path(os.environ["FIELDGATE_IMAGES"])
MIB = 1 << 20
MODULES = ["modbus-reader", "iothub-module", "device-agent", "broker-setup"]


def archives(architecture):
    found = sorted((IMAGES / architecture).glob("*.tar.zst"))
    assert found, f"no images in {IMAGES / architecture}: run scripts/test cluster"
    return found


def name_of(archive):
    return archive.name.removeprefix("fieldgate-").rsplit("-", 2)[0]


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_archive_has_the_digests_it_is_listed_with(architecture):
    done = subprocess.run([program("image-builder"), "verify", IMAGES / architecture], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("archive", archives("amd64") + archives("arm64"), ids=lambda path: path.name)
def test_nothing_in_an_image_is_root_setuid_or_writable_by_everybody(archive):
    done = subprocess.run([program("image-builder"), "inspect", archive], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_images_of_a_device_take_120_mb_at_most_and_a_module_15():
    sizes = {name_of(archive): archive.stat().st_size for archive in archives("amd64")}
    print(sizes)
    assert {*MODULES, "broker"} <= set(sizes)
    assert sum(sizes.values()) <= 120 * MIB
    for module in MODULES:
        assert sizes[module] <= 15 * MIB


@pytest.mark.parametrize("archive", archives("amd64"), ids=lambda path: path.name)
def test_beside_each_archive_is_its_bill_of_material(archive):
    bill = json.loads(archive.with_name(archive.name.replace(".tar.zst", ".cdx.json")).read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    assert len(bill["components"]) > 5
