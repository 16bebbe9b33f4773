"""Fixtures that every Python test may use. Each process is started once a session and serves many checks."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from fieldgate_testing.emulator import start_emulator  # noqa: E402


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The IoT Hub emulator on port 8883, which Microsoft's SDKs have hard-coded: run inside a network namespace (scripts/test does)."""
    process, hub = start_emulator(tmp_path_factory.mktemp("emulator"), 8883)
    yield hub
    process.stop()
