"""One broker, one sidecar, one reader and all Modbus peers, started once for all tests."""

import os
import pathlib

import pytest

from fieldgate_testing.broker import Broker
from fieldgate_testing.module import Module
from fieldgate_testing.sidecar import Sidecar
from modbus_peers.plant import Plant, document


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def plant(tmp_path_factory):
    plant = Plant(tmp_path_factory.mktemp("plant"))
    yield plant
    plant.close()


class Reader:
    """modbus-reader with its sidecar, seen from the broker."""

    def __init__(self, folder, broker, plant):
        self.broker = broker
        self.sidecar = Sidecar(folder / "dapr", "modbus-reader", broker)
        try:
            self.module = Module(folder, "modbus-reader", document(plant.configuration()), self.sidecar)
            self.module.process.wait_until(self.module.is_ready, "modbus-reader to be ready")
        except BaseException:
            self.stop()
            raise

    def event(self, device, group, where=lambda data: True, what=None, mark=None, timeout=20):
        """The next event of a stream (after a mark, or from now on) whose data fits."""
        mark = self.broker.mark() if mark is None else mark

        what = f"{device}/{group}: {what or 'an event'}"
        near = lambda event: event["subject"] == f"{device}/{group}"  # noqa: E731
        return self.broker.wait_for("telemetry", lambda event: where(event.data), what, mark, timeout, self.explain, near).data

    def stream(self, device, group, mark):
        """All events of a stream after a mark."""
        return self.broker.since(mark, "telemetry", lambda event: event["subject"] == f"{device}/{group}")

    def status(self, where, what, mark):
        return self.broker.wait_for("status", lambda event: where(event.data), what, mark, explain=self.explain).data

    def explain(self):
        parts = {"modbus-reader": self.module.process, "daprd": self.sidecar.process}
        return "\n".join(f"--- {name}:\n{process.log_tail()[-2000:]}" for name, process in parts.items())

    def stop(self):
        status = self.module.stop() if hasattr(self, "module") else None
        self.sidecar.stop()
        return status


@pytest.fixture(scope="session")
def reader(tmp_path_factory, broker, plant):
    reader = Reader(tmp_path_factory.mktemp("reader"), broker, plant)
    yield reader
    status = reader.stop()
    assert status == 0, f"modbus-reader ended with status {status} after SIGTERM\n{reader.explain()}"


@pytest.fixture
def root_of_the_machine():
    """Loop devices and mounts belong to root, and not to that of a name space."""
    of_the_machine = pathlib.Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    assert os.geteuid() == 0 and of_the_machine, "this test makes disks: run scripts/test conformance as root"
