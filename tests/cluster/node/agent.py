"""Another node of upstream components, as `k3s agent` would be."""

import shutil

from . import files
from .machine import Machine
from .server import STORAGE


class Agent(Machine):
    """containerd, kubelet, kube-proxy and the policy controller."""

    discarded = ("containerd", "run")

    def __init__(self, server, name, number):
        super().__init__(server, name, number)
        self.runtime_endpoint = self.folder / "containerd.sock"
        self.ctr_command = ["ctr", "--address", str(self.runtime_endpoint), "--namespace", "k8s.io"]
        self._write_files()

    def _start_parts(self):
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        containerd = self.run("containerd", "containerd", "--config", self.folder / "containerd.toml")
        containerd.wait_until(self.runtime_endpoint.exists, "containerd to listen")
        self.load_image(self.server.folder / "pause.tar")
        kubernetes = self.server.program("kubernetes")
        self.run("kube-proxy", kubernetes, "kube-proxy", *files.kube_proxy(self.server.proxy_config, self.name))
        flags = files.kubelet_flags(self.kubelet_config, self.folder / "kubelet.yaml", self.folder / "kubelet", self.name, self.address)
        kubelet = self.run("kubelet", kubernetes, "kubelet", *flags, STORAGE)
        kubelet.wait_until(self.is_ready, f"node {self.name} to be Ready", timeout=90)
        policies = self.server.program("network-policy")
        self.run("network-policy", policies, *files.network_policy(self.server.admin_config, self.name))

    def _write_files(self):
        (self.folder / "cni").mkdir()
        self.kubelet_config = self.server.authority.kubeconfig(f"kubelet-{self.name}", self.server.server, f"system:node:{self.name}", "system:nodes")
        (self.folder / "cni" / "10-pods.conflist").write_text(files.cni(self.number))
        (self.folder / "containerd.toml").write_text(files.containerd(self.folder / "containerd", self.folder / "run/containerd", self.runtime_endpoint, self.folder / "cni"))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "kubelet.yaml").write_text(files.kubelet(self.server.authority.certificate, self.runtime_endpoint, files.machine_kubelet(self.folder, self.cgroup)))
