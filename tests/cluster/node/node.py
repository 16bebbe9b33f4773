"""One node of upstream Kubernetes as processes of the test. Run it inside the namespaces that scripts/lib/cluster.sh makes."""

import os

from fieldgate_testing.process import Process
from fieldgate_testing.waiting import wait_for

from . import files
from .agent import Agent
from .certificates import Authority
from .server import ADDRESS, NAME, PORT, STORAGE, Server, listens


class Node(Server):
    """kine on SQLite, API server, controller manager, scheduler, kubelet, kube-proxy, containerd, runc, CNI bridge, kube-router's policy controller, CoreDNS."""

    k3s = False
    agent = Agent

    def __init__(self, folder):
        super().__init__(folder)
        self.parts = {}
        self.runtime_endpoint = self.folder / "containerd.sock"
        self.ctr_command = ["ctr", "--address", str(self.runtime_endpoint), "--namespace", "k8s.io"]

    @property
    def main(self):
        return self.parts["apiserver"]

    @property
    def processes(self):
        return {name: process.process.pid for name, process in self.parts.items() if process.running()}

    # ---- life

    def start(self):
        """Until the node is Ready and names resolve."""
        self.make_network()
        self._write_files()
        self._start("kine", self.program("kine"), "--endpoint", f"sqlite://{self.folder}/database/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL",
                    "--listen-address", "127.0.0.1:2379", "--metrics-bind-address", "0")  # fmt: skip
        self._start("containerd", "containerd", "--config", self.folder / "containerd.toml")
        self.parts["kine"].wait_until(lambda: listens("127.0.0.1", 2379), "kine to listen")
        self._start_apiserver()
        self.parts["containerd"].wait_until(self.runtime_endpoint.exists, "containerd to listen")
        for archive in self.own_images():
            self.load_image(archive)
        self.wait_api()
        self._start("kube-controller-manager", *self._kubernetes("kube-controller-manager"), *files.kube_controller_manager(self.authority.folder, self.controllers_config))
        self._start("kube-scheduler", *self._kubernetes("kube-scheduler"), *files.kube_scheduler(self.scheduler_config))
        self._start("kube-proxy", *self._kubernetes("kube-proxy"), *files.kube_proxy(self.proxy_config, NAME))
        self._start("kubelet", *self._kubelet())
        self.apply(files.coredns())
        self.parts["kubelet"].wait_until(self.is_ready, f"node {NAME} to be Ready", timeout=90)
        self._start("network-policy", self.program("network-policy"), *files.network_policy(self.admin_config, NAME))

    def restart(self, part):
        """Ends a part at once and starts it again, as systemd would after a crash."""
        process = self.parts[part]
        process.kill()
        if part == "apiserver":
            wait_for(lambda: not listens(ADDRESS, PORT), "the API server's port to be free")
        if part == "containerd":
            self.runtime_endpoint.unlink(missing_ok=True)
        process.start()
        if part == "apiserver":
            self.wait_api()
        if part == "containerd":
            process.wait_until(self.runtime_endpoint.exists, "containerd to listen")

    def say(self, part):
        """The end of the log of a part."""
        return f"--- {part}:\n{self.parts[part].log_tail()}"

    def stop(self):
        """In the order opposite to starting. Containers and mounts end with the namespaces (scripts/lib/cluster.sh)."""
        self.discard_agents()
        for process in reversed(list(self.parts.values())):
            process.kill()

    # ---- set-up

    def _kubernetes(self, part):
        return [self.program("kubernetes"), part]

    def _start(self, name, *command):
        self.parts[name] = Process(command, self.folder / f"{name}.log", cwd=self.folder)

    def _write_files(self):
        authority = Authority(self.folder / "certificates")
        authority.components(self.server, NAME, ADDRESS)
        configs = [authority.folder / f"{name}.kubeconfig" for name in ("admin", "kubelet", "controller-manager", "scheduler", "proxy")]
        self.admin_config, self.kubelet_config, self.controllers_config, self.scheduler_config, self.proxy_config = configs
        self.authority = authority
        self.kubectl_command = [str(self.program("kubernetes")), "kubectl", "--kubeconfig", str(self.admin_config), "--cache-dir", str(self.folder / "kubectl-cache")]
        (self.folder / "cni").mkdir()
        (self.folder / "database").mkdir(exist_ok=True)
        (self.folder / "cni" / "10-pods.conflist").write_text(files.cni())
        (self.folder / "containerd.toml").write_text(files.containerd(self.folder / "containerd", self.folder / "run/containerd", self.runtime_endpoint, self.folder / "cni"))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "kubelet.yaml").write_text(files.kubelet(authority.certificate, self.runtime_endpoint, files.machine_kubelet(self.folder, os.environ["FIELDGATE_NODE_CGROUP"])))
        self.kubectl_wrapper()

    def _start_apiserver(self):
        keys = self.authority.folder
        flags = files.kube_apiserver(keys, keys, "http://127.0.0.1:2379", ADDRESS)
        self._start("apiserver", *self._kubernetes("kube-apiserver"), *flags, f"--bind-address={ADDRESS}", "--event-ttl=1h", f"--cert-dir={self.folder}/apiserver")

    def _kubelet(self):
        flags = files.kubelet_flags(self.kubelet_config, self.folder / "kubelet.yaml", self.folder / "kubelet", NAME, ADDRESS)
        return [*self._kubernetes("kubelet"), *flags, STORAGE]
