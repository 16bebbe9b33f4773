"""The whole system as processes: a pymodbus device, modbus-reader, two sidecars, the broker, iothub-module and the emulator."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "conformance"))
# Before the import, so that a failed check in it shows its values.
pytest.register_assert_rewrite("fieldgate_testing.main_job")

from fieldgate_testing.broker import Broker  # noqa: E402
from fieldgate_testing.main_job import APPLIANCE, DEVICE, IMAGE, allowed_commands, reader_document  # noqa: E402
from fieldgate_testing.module import Module  # noqa: E402
from fieldgate_testing.sidecar import Sidecar, call, component, jetstream  # noqa: E402
from modbus_peers.pymodbus_server import PymodbusServer  # noqa: E402


class System:
    """Everything started, nothing faked but the PLC (pymodbus) and Azure (the emulator). The interface is fieldgate_testing.main_job's."""

    patience = 20

    def __init__(self, folder, hub):
        self.hub = hub
        self.parts = []
        try:
            self._start(folder, hub)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder, hub):
        self.plc = PymodbusServer({1: IMAGE})
        self.parts.append(self.plc.close)
        self.broker = Broker(folder)
        self.parts.append(self.broker.stop)

        self.reader_sidecar = self._sidecar(folder, "modbus-reader", [])
        self.reader = self._module(folder, "modbus-reader", reader_document("127.0.0.1", self.plc.port), self.reader_sidecar)

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
        module = Module(folder, name, json.dumps(document), sidecar, APPLIANCE)
        self.parts.append(module.stop)
        return module

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
            "commands": allowed_commands(),
        }

    def publish_raw(self, topic, body):
        url = f"http://127.0.0.1:{self.reader_sidecar.http_port}/v1.0/publish/pubsub/{topic}?metadata.rawPayload=true"
        status, answer = call("POST", url, body)
        assert status in (200, 204), answer

    def read_configuration(self):
        return self.reader.configuration.read_text()

    def write_configuration(self, document):
        self.reader.configure(document)

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
