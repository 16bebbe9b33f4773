"""Our image archives, as k3s would find them in agent/images."""

import os
import pathlib
import platform
from concurrent.futures import ThreadPoolExecutor

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archives():
    """Those for this machine, from the folder that FIELDGATE_IMAGES names."""
    folder = os.environ.get("FIELDGATE_IMAGES")
    assert folder, "FIELDGATE_IMAGES names no folder: run scripts/test cluster, or scripts/build-images and set it to where the archives are"
    architecture = ARCHITECTURES[platform.machine()]
    found = sorted(pathlib.Path(folder).glob(f"fieldgate-*-{architecture}.tar.zst"))
    assert found, f"{folder} has no archive fieldgate-*-{architecture}.tar.zst: run scripts/build-images"
    return found


def load(node):
    """Imports all of them, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(node.load_image, archives()))
