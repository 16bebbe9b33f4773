"""One node of upstream Kubernetes as processes of the test. Run it inside the namespaces that scripts/lib/cluster.sh makes."""

import os

from fieldgate_testing.process import Process
from fieldgate_testing.waiting import wait_for

from . import files
from .agent import Agent
from .certificates import Authority
from .server import ADDRESS, KUBELET, NAME, PORT, Server, listens


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
        self._start("kube-controller-manager", *self._controller_manager())
        self._start("kube-scheduler", *self._kubernetes("kube-scheduler"), "--kubeconfig", self.scheduler_config, "--leader-elect=false", "--secure-port=0")
        self._start("kube-proxy", *self._proxy())
        self._start("kubelet", *self._kubelet())
        self.apply(files.coredns())
        self.parts["kubelet"].wait_until(self.is_ready, f"node {NAME} to be Ready", timeout=90)
        self._start("network-policy", self.program("network-policy"), "--kubeconfig", self.admin_config, "--hostname-override", NAME)

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
        names = [f"kubernetes.default.svc.{files.DOMAIN}", "kubernetes.default.svc", "kubernetes.default", "kubernetes"]
        self.serving = authority.issue("apiserver", "kube-apiserver", "system:masters", [ADDRESS, "10.43.0.1", "127.0.0.1", *names])
        self.admin_config = authority.kubeconfig("admin", self.server, "admin", "system:masters")
        self.kubelet_config = authority.kubeconfig("kubelet", self.server, f"system:node:{NAME}", "system:nodes")
        self.controllers_config = authority.kubeconfig("controllers", self.server, "system:kube-controller-manager")
        self.scheduler_config = authority.kubeconfig("scheduler", self.server, "system:kube-scheduler")
        self.proxy_config = authority.kubeconfig("proxy", self.server, "system:kube-proxy")
        self.authority = authority
        self.kubectl_command = [str(self.program("kubernetes")), "kubectl", "--kubeconfig", str(self.admin_config), "--cache-dir", str(self.folder / "kubectl-cache")]
        (self.folder / "cni").mkdir()
        (self.folder / "database").mkdir(exist_ok=True)
        (self.folder / "cni" / "10-pods.conflist").write_text(files.cni())
        (self.folder / "containerd.toml").write_text(files.containerd(self.folder))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "kubelet.yaml").write_text(files.kubelet(self.folder, authority, os.environ["FIELDGATE_NODE_CGROUP"]))
        self.kubectl_wrapper()

    def _start_apiserver(self):
        key = self.authority
        certificate, private = self.serving
        self._start("apiserver", *self._kubernetes("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379",
                    f"--advertise-address={ADDRESS}", f"--bind-address={ADDRESS}", f"--secure-port={PORT}",
                    f"--tls-cert-file={certificate}", f"--tls-private-key-file={private}", f"--client-ca-file={key.certificate}",
                    f"--service-account-key-file={key.service_account_public}", f"--service-account-signing-key-file={key.service_account_key}",
                    f"--service-account-issuer=https://kubernetes.default.svc.{files.DOMAIN}", f"--service-cluster-ip-range={files.SERVICES}",
                    "--authorization-mode=Node,RBAC", "--allow-privileged=true", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false",
                    f"--kubelet-client-certificate={certificate}", f"--kubelet-client-key={private}", "--kubelet-preferred-address-types=InternalIP",
                    "--event-ttl=1h", "--profiling=false", f"--cert-dir={self.folder}/apiserver")  # fmt: skip

    def _controller_manager(self):
        return [*self._kubernetes("kube-controller-manager"), "--kubeconfig", self.controllers_config, "--use-service-account-credentials=true",
                f"--root-ca-file={self.authority.certificate}", f"--service-account-private-key-file={self.authority.service_account_key}",
                "--leader-elect=false", "--secure-port=0", "--profiling=false"]  # fmt: skip

    def _proxy(self):
        return [*self._kubernetes("kube-proxy"), "--kubeconfig", self.proxy_config, "--proxy-mode=nftables", "--conntrack-max-per-core=0",
                f"--hostname-override={NAME}", "--metrics-bind-address=127.0.0.1:10249", "--healthz-bind-address=127.0.0.1:10256"]  # fmt: skip

    def _kubelet(self):
        return [*self._kubernetes("kubelet"), "--kubeconfig", self.kubelet_config, "--config", self.folder / "kubelet.yaml", f"--root-dir={KUBELET}",
                f"--cert-dir={self.folder}/kubelet", f"--hostname-override={NAME}", f"--node-ip={ADDRESS}", "--node-labels=fieldgate.io/storage=true"]  # fmt: skip
