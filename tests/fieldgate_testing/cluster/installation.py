"""Everything that makes a node an appliance, put there in the worst order: the modules first, what injects their sidecars last."""

import os
import pathlib
import subprocess

import yaml

from fieldgate_testing.process import program
from fieldgate_testing.waiting import wait_for

from . import hub as test_hub
from . import pods

MODULES = ("modbus-reader", "iothub-module")
DAPR_DEPLOYMENTS = {"sentry": "dapr-sentry", "operator": "dapr-operator", "injector": "dapr-sidecar-injector"}
NAMESPACE_FILE = "fieldgate-appliance.yaml"


def dapr_manifests():
    """The rendered Dapr control plane, CRDs first."""
    folder = os.environ.get("FIELDGATE_K3S_MANIFESTS")
    assert folder, "FIELDGATE_K3S_MANIFESTS names no folder with dapr-crds.yaml and dapr.yaml: run scripts/test cluster"
    return [pathlib.Path(folder) / name for name in ("dapr-crds.yaml", "dapr.yaml")]


class Installation:
    """Applies the manifests of an appliance and Dapr. `stages` takes the times."""

    def __init__(self, node, appliance, stages):
        self.node = node
        self.appliance = appliance
        self.stages = stages

    def run(self, connection_string):
        self._prepare_node()
        self.node.apply(yaml.safe_dump_all(test_hub.manifests(self.node.address)))
        self.node.apply(self.appliance.manifests / NAMESPACE_FILE)
        self.make_secrets(connection_string)
        # Objects of Dapr's kinds are refused as long as their definitions are not there; the rest is made.
        for path in self.appliance.files():
            self.node.kubectl("apply", "-f", path, check=False)
        wait_for(self._pods_are_refused, "the modules' pods to be wanted and refused", timeout=60, interval=0.2)
        self.stages.done("pods refused without injector")
        for path in dapr_manifests():
            self._apply_until_taken(path)
            self.node.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s")
        for path in self.appliance.files():
            self._apply_until_taken(path)
        self.stages.done("everything applied")
        self.wait_ready()
        self.stages.done("all pods ready")

    def wait_ready(self, timeout=240):
        for name in DAPR_DEPLOYMENTS.values():
            self.node.wait_ready("deployment", name, pods.DAPR, timeout)
        self.node.wait_ready("statefulset", "broker", timeout=timeout)
        for module in MODULES:
            self.node.wait_ready("deployment", module, timeout=timeout)

    def _prepare_node(self):
        """What `fieldgate install` does on a device: folders for the volumes, and the label that says they are here."""
        self.node.kubectl("label", "nodes", "--all", "--overwrite", "fieldgate.io/storage=true")
        for item in self.appliance.objects():
            if item["kind"] == "PersistentVolume":
                self.node.make_volume(pathlib.PurePath(item["spec"]["local"]["path"]).name)

    def make_secrets(self, connection_string):
        """As on a device: the keys are made there, the connection string comes in a file."""
        file = self.appliance.folder / "connection-string"
        file.touch(mode=0o600)
        file.write_text(connection_string)
        try:
            self.secrets()
            self.secrets("iothub", "--connection-string-file", file)
        finally:
            file.unlink()

    def secrets(self, *arguments, timeout=60):
        command = [program("fieldgate"), "secrets", *arguments, "--appliance", self.appliance.folder / "appliance.yaml"]
        command += ["--kubectl", self.node.kubectl_program]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"fieldgate secrets ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"

    def _pods_are_refused(self):
        """Each module's ReplicaSet has tried to make its pod and was told no."""
        sets = self.node.get("replicasets", selector="fieldgate.io/module")["items"]
        refused = [one for one in sets if any(c["type"] == "ReplicaFailure" for c in one.get("status", {}).get("conditions", []))]
        return len(refused) >= len(MODULES)

    def _apply_until_taken(self, path, timeout=120):
        """As k3s does: again, until the API server knows every kind and every webhook answers."""

        def applied():
            self.node.apply(path)
            return True

        try:
            wait_for(applied, f"{path.name} to be taken", timeout, interval=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.node.explain()}\n{self.node.explain(pods.DAPR)}") from None


class DeviceInstallation(Installation):
    """As on a device that has k3s: `fieldgate install` puts everything onto its disk, and k3s does the rest."""

    def run(self, connection_string):
        self.node.apply(yaml.safe_dump_all(test_hub.manifests(self.node.address)))
        self.install()
        # What `fieldgate install` does by systemctl on a machine that runs it.
        self.node.restart("k3s")
        self.stages.done("k3s started with its settings")
        wait_for(lambda: self.node.kubectl("get", "namespace", "fieldgate", "--ignore-not-found", "-o", "name"), "the namespace", timeout=120)
        self.node.kubectl("label", "nodes", "--all", "--overwrite", "fieldgate.io/storage=true")
        self.make_secrets(connection_string)
        for path in self.appliance.files():
            self.node.apply(path)
        self.stages.done("everything applied")
        self.wait_ready()
        self.stages.done("all pods ready")

    def install(self, *options):
        """Onto the disk of the node; its services are the test's."""
        bundle = os.environ.get("FIELDGATE_BUNDLE")
        assert bundle, "FIELDGATE_BUNDLE names no folder: run scripts/test cluster, or scripts/build-bundle and set it to target/bundle"
        command = [program("fieldgate"), "install", "--bundle", bundle, "--root", self.node.root, "--node", "gate"]
        command += ["--appliance", self.appliance.folder / "appliance.yaml", *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"fieldgate install ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout
