"""An appliance that was provisioned before its first start: its description and documents, the hub's authority, a key for SSH."""

import yaml

from fieldgate_testing import main_job
from fieldgate_testing.cluster import hub as test_hub
from fieldgate_testing.cluster.installation import DAPR_DEPLOYMENTS, MODULES
from fieldgate_testing.cluster.pods import DAPR
from fieldgate_testing.cluster.system import description, hub_document
from fieldgate_testing.waiting import wait_for

from .guest import Guest, make_key

# This machine, seen from a guest in QEMU's user network.
OUTSIDE = "10.0.2.2"


def provisioning(folder, plc_port, hub_ca):
    """The files of the data partition."""
    reader = main_job.reader_document(OUTSIDE, plc_port)
    # A guest without KVM has other things to do than ten events a second.
    reader["groups"][0]["period"] = "1s"
    named = description()
    named["hub"] = {"ca": "hub-ca.pem"}
    documents = {"modbus-reader": reader, "iothub-module": hub_document()}
    for module in documents:
        named["modules"][module]["configuration"] = f"{module}.yaml"
    files = {f"etc/fieldgate/{module}.yaml": (yaml.safe_dump(document, sort_keys=False), 0o644) for module, document in documents.items()}
    files["etc/fieldgate/appliance.yaml"] = yaml.safe_dump(named, sort_keys=False), 0o644
    files["etc/fieldgate/hub-ca.pem"] = hub_ca, 0o644
    files["etc/ssh/authorized_keys"] = make_key(folder), 0o600
    return files


class ImageSystem:
    """The guest, the PLC and the hub outside; the interface is fieldgate_testing.main_job's. Starts at once, and waits for the first message."""

    patience = 120

    def __init__(self, disk, folder, hub, plc, *options):
        self.hub, self.plc = hub, plc
        with open(hub.ca_file) as authority:
            disk.put(provisioning(folder, plc.port, authority.read()))
        self.guest = Guest(disk, folder, *options)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        self.guest.wait_stage("api")
        # What a provisioning will do: the hub's name and the identity.
        wait_for(self._namespace, "the namespace", timeout=300, interval=5)
        self.guest.apply(yaml.safe_dump_all(test_hub.manifests(OUTSIDE)))
        identity = self.hub.create(main_job.DEVICE)["connectionString"]
        self.guest.ssh("fieldgate secrets iothub --no-restart --connection-string-file -", stdin=identity)
        self.guest.wait_stage("running")
        self.first = main_job.telemetry(self, lambda data: True, timeout=300)

    def _namespace(self):
        return self.guest.kubectl("get", "namespace", "fieldgate", "-o", "name")

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
