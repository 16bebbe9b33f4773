"""The appliance in the cluster, with the interface that fieldgate_testing.main_job asks for."""

import datetime
import json

from fieldgate_testing import main_job
from fieldgate_testing.main_job import APPLIANCE, DEVICE

from . import pods
from .audit import Audit
from .appliance import Appliance
from .broker import ClusterBroker, User, secret, url
from .installation import MODULES, DeviceInstallation, Installation
from .plc import Plc

STATE = "/var/lib/fieldgate/state"


def hub_document():
    """The configuration of iothub-module. The name of the hub is in the connection string, its authority in a ConfigMap."""
    return {
        "hub": {"connection_string": {"store": "secrets", "name": "iothub", "key": "connection-string"}, "ca_file": "/etc/fieldgate/hub/ca.pem"},
        "queue": {"path": f"{STATE}/queue.db", "max_bytes": "64MiB"},
        "subscriptions": [{"pubsub": f"pubsub-{topic}", "topic": topic} for topic in ("telemetry", "status")],
        "commands": main_job.allowed_commands(),
    }


def description():
    """The appliance without the paths of the documents."""
    return {"appliance": APPLIANCE, "modules": {"modbus-reader": {}, "iothub-module": {}}}


class ClusterSystem:
    """Installs everything on a node that runs, and waits for the first message at the hub. Not `audited`, nobody reads the broker along."""

    FIRST_MESSAGE = "first message at the hub"
    # The kubelet brings an edited ConfigMap into a pod within a minute.
    patience = 120

    def __init__(self, node, folder, hub, watch, stages, audited=True):
        self.node = node
        self.hub = hub
        self.watch = watch
        self.stages = stages
        self.parts = []
        try:
            self._start(folder, audited)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder, audited):
        self.plc = Plc({1: main_job.IMAGE}, self.node.address)
        self.parts.append(self.plc.close)
        documents = {"modbus-reader": main_job.reader_document(self.node.address, self.plc.port), "iothub-module": hub_document()}
        self.appliance = Appliance(folder / "appliance", description(), documents, self.hub.ca_file, self.node.manifests)
        if self.node.k3s:
            self.installation = DeviceInstallation(self.node, self.appliance, self.stages)
        else:
            self.appliance.generate()
            self.installation = Installation(self.node, self.appliance, self.stages)
        self.installation.run(self.hub.create(DEVICE)["connectionString"])
        first = main_job.telemetry(self, lambda data: True, timeout=120)
        self.stages.at(self.FIRST_MESSAGE, first["received_us"] / 1e6)
        if audited:
            self.broker = ClusterBroker(self.node)
            self.parts.append(self.broker.stop)
            self.audit = Audit(self.hub, self.broker, DEVICE)

    # ---- what the main job asks for

    def publish_raw(self, topic, body):
        with User(url(self.node), self.seed("modbus-reader")) as user:
            user.publish(topic, json.dumps(body).encode())

    def read_configuration(self):
        return self.appliance.read_document("modbus-reader")

    def write_configuration(self, document):
        self.appliance.write_document("modbus-reader", document)
        self.apply_configuration()

    def explain(self):
        parts = [self.node.explain()]
        for module in MODULES:
            for pod in self.node.pods(selector=pods.module_selector(module)):
                for container in (module, "daprd"):
                    log = self.node.kubectl("logs", pods.name(pod), "-c", container, "-n", "fieldgate", "--tail=12", check=False)
                    parts.append(f"--- {pods.name(pod)}, {container}:\n{log}")
        return "\n".join(parts)

    # ---- what the tests of the cluster ask for besides

    def seed(self, module):
        return secret(self.node, f"broker-{module}", "nkey")

    def apply_configuration(self, module="modbus-reader"):
        self.node.apply(self.appliance.configuration_file(module))

    def apply_all(self):
        """Every generated file as it is now, and nothing else."""
        for path in self.appliance.files():
            self.node.apply(path)

    def module_pod(self, module):
        return pods.the_pod(self.node, pods.module_selector(module))

    def fresh(self, where=lambda data: True, timeout=120):
        """Telemetry whose values were read after this moment, at the hub."""
        now = datetime.datetime.now(datetime.timezone.utc)

        def read_since(data):
            return datetime.datetime.fromisoformat(data["timestamp"]) > now and where(data)

        return main_job.telemetry(self, read_since, after=self.newest_index(), timeout=timeout)

    def newest_index(self):
        """The hub's number of the newest message: what comes from now on is behind it."""
        return self.hub.json("GET", "/messages/count")["count"]

    def reader_epoch(self):
        """Which run of modbus-reader the newest telemetry is from."""
        return self.fresh()["body"]["data"]["epoch"]

    def leave_broker(self):
        """Nobody reads it along any more: it will be taken away."""
        self.parts.remove(self.broker.stop)
        self.broker.stop()

    def stop(self):
        for stop in reversed(self.parts):
            stop()
