"""Everything that makes a node an appliance, put there in the worst order: the modules first, what injects their sidecars last."""

import contextlib
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
        with self.connection_string_file(connection_string) as file:
            self.secrets()
            self.secrets("iothub", "--connection-string-file", file)

    @contextlib.contextmanager
    def connection_string_file(self, connection_string):
        """Only as long as it is needed."""
        file = self.appliance.folder / "connection-string"
        file.touch(mode=0o600)
        file.write_text(connection_string)
        try:
            yield file
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
        # Nothing here is run by systemd, so the settings of k3s are new until it has been restarted.
        told = self.install(status=1)
        assert "restart k3s in its own way, then run this command again" in told, told
        self.node.restart("k3s")
        self.stages.done("k3s started with its settings")
        self.install()
        self.stages.done("installed")
        with self.connection_string_file(connection_string) as file:
            self.secrets("iothub", "--connection-string-file", file)
        for path in self.appliance.files():
            self.node.apply(path)
        self.stages.done("everything applied")
        self.wait_ready()
        self.stages.done("all pods ready")

    def install(self, *options, status=0):
        bundle = os.environ.get("FIELDGATE_BUNDLE")
        assert bundle, "FIELDGATE_BUNDLE names no folder: run scripts/test cluster, or scripts/build-bundle and set it to target/bundle"
        return self.run_fieldgate("install", "--bundle", bundle, "--appliance", self.appliance.folder / "appliance.yaml", "--node", "gate", *options, status=status)

    def uninstall(self, *options):
        return self.run_fieldgate("uninstall", *options)

    def run_fieldgate(self, *arguments, status=0):
        command = [program("fieldgate"), *arguments, "--kubectl", self.node.kubectl_program]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, env=self.node.environment)
        assert done.returncode == status, f"fieldgate {arguments[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr
