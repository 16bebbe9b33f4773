"""The reference image in QEMU, without KVM and without any network but this machine. Run by scripts/test image."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("cluster", "conformance")]
# Before the import, so that a failed check in them shows its values.
pytest.register_assert_rewrite("fieldgate_testing.main_job")

from modbus_peers.pymodbus_server import PymodbusServer  # noqa: E402

from fieldgate_testing.cluster.hub import HubProcess  # noqa: E402
from fieldgate_testing.image.appliance import ImageSystem  # noqa: E402
from fieldgate_testing.image.bundles import Bundles  # noqa: E402
from fieldgate_testing.image.disk import Disk  # noqa: E402
from fieldgate_testing.image.download import Server  # noqa: E402
from fieldgate_testing.image.wire import Wire  # noqa: E402
from fieldgate_testing.main_job import IMAGE  # noqa: E402


# One guest at a time. The last ones share a device, from its first start through updates to its reset.
ORDER = ("unprovisioned", "invalid_provisioning", "stick", "boot", "update", "agent", "power_cut", "reset")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


@pytest.fixture(scope="session")
def wire():
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The emulator on loopback, which the guest reaches as 10.0.2.2, under the name that the cluster gives that address."""
    process = HubProcess(tmp_path_factory.mktemp("emulator"), "127.0.0.1")
    yield process.emulator
    process.stop()


@pytest.fixture(scope="session")
def plc():
    plc = PymodbusServer({1: IMAGE})
    yield plc
    plc.close()


@pytest.fixture(scope="session")
def system(tmp_path_factory, hub, plc, wire):
    folder = tmp_path_factory.mktemp("appliance")
    disk = Disk(folder / "disk.img")
    system = ImageSystem(disk, folder, hub, plc, "--wire", f"{wire.own}:{wire.qemu}")
    yield system
    system.stop()
    disk.path.unlink()


@pytest.fixture
def guest(system):
    return system.guest


@pytest.fixture
def running(guest):
    """Everything runs since the last start."""
    guest.wait_stage("running", boot=len(guest.stages()))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return Bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def web(bundles):
    server = Server(bundles.folder)
    yield server
    server.close()
