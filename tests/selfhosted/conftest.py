"""The whole system as processes: a pymodbus device, modbus-reader, two sidecars, the broker, iothub-module and the emulator."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "conformance"))

from fieldgate_testing.broker import Broker  # noqa: E402
from fieldgate_testing.module import Module  # noqa: E402
from fieldgate_testing.sidecar import Sidecar, component, jetstream  # noqa: E402
from modbus_peers.pymodbus_server import PymodbusServer  # noqa: E402

DEVICE = "main-job"
COIL, REGISTER = 7, 40


class System:
    """Everything started, nothing faked but the PLC (pymodbus) and Azure (the emulator)."""

    def __init__(self, folder, hub):
        self.hub = hub
        self.parts = []
        try:
            self._start(folder, hub)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder, hub):
        image = {"coil": {COIL: False}, "discrete-input": {0: False}, "holding-register": {REGISTER: 1234}, "input-register": {0: 0}}
        self.plc = PymodbusServer({1: image})
        self.parts.append(self.plc.close)
        self.broker = Broker(folder)
        self.parts.append(self.broker.stop)

        self.reader_sidecar = self._sidecar(folder, "modbus-reader", [])
        self.reader = self._module(folder, "modbus-reader", self.reader_document(), self.reader_sidecar)

        secret = {"iothub": {"connection-string": hub.create(DEVICE)["connectionString"]}}
        (folder / "secrets.json").write_text(json.dumps(secret))
        secrets = component("secrets", "secretstores.local.file", {"secretsFile": str(folder / "secrets.json"), "multiValued": "true"})
        subscriptions = [jetstream(f"pubsub-{topic}", self.broker, durableName=f"iothub-module-{topic}") for topic in ("telemetry", "status")]
        self.hub_sidecar = self._sidecar(folder, "iothub-module", [secrets, *subscriptions])
        self.module = self._module(folder, "iothub-module", self.hub_document(folder), self.hub_sidecar)
        for module in (self.reader, self.module):
            module.process.wait_until(module.is_ready, "the module to be ready")

    def _sidecar(self, folder, app, components):
        sidecar = Sidecar(folder / app, app, self.broker, components, names=folder)
        self.parts.append(sidecar.stop)
        return sidecar

    def _module(self, folder, name, document, sidecar):
        module = Module(folder, name, json.dumps(document), sidecar)
        self.parts.append(module.stop)
        return module

    def reader_document(self):
        tags = [
            {"name": "pump", "table": "coil", "address": COIL, "writable": True},
            {"name": "level", "table": "holding-register", "address": REGISTER, "type": "u16", "writable": True},
        ]
        return {
            "name": "main job",
            "version": "1",
            "links": [{"name": "line", "tcp": {"host": "127.0.0.1", "port": self.plc.port}}],
            "devices": [{"name": "plc", "link": "line", "unit": 1}],
            "groups": [{"name": "all", "devices": ["plc"], "period": "100ms", "tags": tags}],
        }

    def hub_document(self, folder):
        return {
            "hub": {
                "connection_string": {"store": "secrets", "name": "iothub", "key": "connection-string"},
                "host": "localhost",
                "port": self.hub.mqtt_port,
                "ca_file": self.hub.ca_file,
            },
            "queue": {"path": str(folder / "queue.db"), "max_bytes": "64MiB"},
            "subscriptions": [{"pubsub": "pubsub-telemetry", "topic": "telemetry"}, {"pubsub": "pubsub-status", "topic": "status"}],
            "commands": {"allow": [{"method": "modbus-reader.write", "deadline": "5s"}, {"method": "modbus-reader.read", "deadline": "5s"}]},
        }

    def explain(self):
        parts = {"modbus-reader": self.reader.process, "iothub-module": self.module.process, "its daprd": self.hub_sidecar.process}
        return "\n".join(f"--- {name}:\n{process.log_tail()[-1500:]}" for name, process in parts.items())

    def stop(self):
        """In the order opposite to starting; returns the exit statuses of the processes."""
        return [stop() for stop in reversed(self.parts)]


@pytest.fixture(scope="session")
def system(tmp_path_factory, hub):
    system = System(tmp_path_factory.mktemp("system"), hub)
    yield system
    system.stop()
