"""Fixtures that every Python test may use. Each process is started once a session and serves many checks."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from fieldgate_testing.emulator import Emulator  # noqa: E402
from fieldgate_testing.process import Process, program  # noqa: E402


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The IoT Hub emulator on port 8883, which Microsoft's SDKs have hard-coded: run inside a network namespace (scripts/test does)."""
    folder = tmp_path_factory.mktemp("emulator")
    command = [program("iothub-emulator"), "--data", folder, "--host-name", "localhost"]
    process = Process(command + ["--mqtt-address", "127.0.0.1:8883", "--control-address", "127.0.0.1:0"], folder / "emulator.log")
    endpoints = folder / "endpoints.json"
    try:
        process.wait_until(endpoints.exists, "the emulator to be ready")
        yield Emulator(json.loads(endpoints.read_text()))
    finally:
        process.stop()
