"""An appliance with a provisioning file on its boot partition: name, hub with its authority, a key for SSH, the modules' documents."""

import yaml

from fieldgate_testing import main_job
from fieldgate_testing.cluster import hub as test_hub
from fieldgate_testing.cluster.installation import DAPR_DEPLOYMENTS, MODULES
from fieldgate_testing.cluster.pods import DAPR
from fieldgate_testing.cluster.system import description, hub_document
from fieldgate_testing.waiting import wait_for

from .guest import Guest, make_key

FILE = "fieldgate-provision.yaml"
AGENT_COMMANDS = ("health", "reset", "restart", "update", "update-status")
# This machine, seen from a guest in QEMU's user network.
OUTSIDE = "10.0.2.2"


def provisioning(folder, plc_port, hub_ca, connection_string):
    """The files of the boot partition. Makes a key for SSH in the folder."""
    reader = main_job.reader_document(OUTSIDE, plc_port)
    # A guest without KVM has other things to do than ten events a second.
    reader["groups"][0]["period"] = "1s"
    hub = hub_document()
    hub["commands"]["allow"] += [{"method": f"device-agent.{command}", "deadline": "60s"} for command in AGENT_COMMANDS]
    modules = description()["modules"] | {"device-agent": {}}
    for module, document in {"modbus-reader": reader, "iothub-module": hub}.items():
        modules[module]["configuration"] = document
    document = {
        "name": main_job.APPLIANCE,
        "time": {"zone": "Europe/Berlin"},
        "hub": {"connection_string": connection_string, "ca": "hub-ca.pem"},
        "ssh": [make_key(folder).strip()],
        "modules": modules,
    }
    return {FILE: yaml.safe_dump(document, sort_keys=False, width=1000), "hub-ca.pem": hub_ca}


class ImageSystem:
    """The guest, the PLC and the hub outside; the interface is fieldgate_testing.main_job's. Starts at once, and waits for the first message."""

    patience = 120

    def __init__(self, disk, folder, hub, plc, *options):
        self.hub, self.plc = hub, plc
        self.connection_string = hub.create(main_job.DEVICE)["connectionString"]
        with open(hub.ca_file) as authority:
            disk.put(provisioning(folder, plc.port, authority.read(), self.connection_string))
        self.guest = Guest(disk, folder, *options)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        self.guest.wait_stage("api")
        # The hub's name, which in a plant is in the DNS.
        wait_for(lambda: self.guest.apply(yaml.safe_dump_all(test_hub.manifests(OUTSIDE))), "the API server to take the hub's name", timeout=300, interval=5)
        self.guest.wait_stage("running")
        self.first = main_job.telemetry(self, lambda data: True, timeout=300)

    def wait_ready(self, timeout=600):
        for name in DAPR_DEPLOYMENTS.values():
            self.guest.wait_ready("deployment", name, DAPR, timeout)
        self.guest.wait_ready("statefulset", "broker", timeout=timeout)
        for module in MODULES:
            self.guest.wait_ready("deployment", module, timeout=timeout)

    def explain(self):
        return self.guest.explain() + self.guest.ssh("journalctl -u 'fieldgate-*' -u k3s -n 60 --no-pager", check=False)

    def stop(self):
        self.guest.stop()
