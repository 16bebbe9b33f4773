"""One node of upstream Kubernetes as processes of the test. Run it inside the namespaces that scripts/lib/cluster.sh makes."""

import os
import pathlib
import shutil
import socket
import subprocess

from fieldgate_testing.process import PLATFORM, Process
from fieldgate_testing.waiting import wait_for

from . import files, images
from .agent import Agent
from .api import Api
from .certificates import Authority

NAME = "gate"
ADDRESS = "10.41.0.1"
PORT = 6443
KUBELET = pathlib.Path("/var/lib/kubelet")


class Node(Api):
    """kine on SQLite, API server, controller manager, scheduler, kubelet, kube-proxy, containerd, runc, CNI bridge, kube-router's policy controller, CoreDNS."""

    k3s = False
    address = ADDRESS
    kubelet_directory = KUBELET
    pod_resources = KUBELET / "pod-resources" / "kubelet.sock"

    def __init__(self, folder):
        assert os.environ.get("FIELDGATE_NODE_NAMESPACE"), "start cluster tests with scripts/test cluster: they need namespaces of their own"
        self.folder = pathlib.Path(folder)
        self.parts = {}
        self.agents = []
        self.runtime_endpoint = self.folder / "containerd.sock"
        self.volumes = pathlib.Path("/var/lib/fieldgate/volumes")
        self.ctr_command = ["ctr", "--address", str(self.runtime_endpoint), "--namespace", "k8s.io"]

    @property
    def processes(self):
        return {name: process.process.pid for name, process in self.parts.items() if process.running()}

    # ---- life

    def start(self):
        """Until the node is Ready and names resolve."""
        self._network()
        self._write_files()
        self._start("kine", self.program("kine"), "--endpoint", f"sqlite://{self.folder}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL",
                    "--listen-address", "127.0.0.1:2379", "--metrics-bind-address", "0")  # fmt: skip
        self._start("containerd", "containerd", "--config", self.folder / "containerd.toml")
        self.parts["kine"].wait_until(lambda: _listens("127.0.0.1", 2379), "kine to listen")
        self._start_apiserver()
        self.parts["containerd"].wait_until(self.runtime_endpoint.exists, "containerd to listen")
        self._own_images()
        self.wait_api()
        self._start("kube-controller-manager", *self._controller_manager())
        self._start("kube-scheduler", *self._kubernetes("kube-scheduler"), "--kubeconfig", self.scheduler_config, "--leader-elect=false", "--secure-port=0")
        self._start("kube-proxy", *self._proxy())
        self._start("kubelet", *self._kubelet())
        self.apply(files.coredns())
        self.parts["kubelet"].wait_until(self._is_ready, f"node {NAME} to be Ready", timeout=90)
        self._start("network-policy", self.program("network-policy"), "--kubeconfig", self.admin_config, "--hostname-override", NAME)

    def wait_api(self):
        self.parts["apiserver"].wait_until(lambda: "ok" == self.kubectl("get", "--raw=/readyz", check=False), "the API server", timeout=90)

    def wait_names(self):
        self.wait_ready("deployment", "coredns", "kube-system")

    def restart(self, part):
        """Ends a part at once and starts it again, as systemd would after a crash."""
        process = self.parts[part]
        process.kill()
        if part == "apiserver":
            wait_for(lambda: not _listens(ADDRESS, PORT), "the API server's port to be free")
        if part == "containerd":
            self.runtime_endpoint.unlink(missing_ok=True)
        process.start()
        if part == "apiserver":
            self.wait_api()
        if part == "containerd":
            process.wait_until(self.runtime_endpoint.exists, "containerd to listen")

    def stop(self):
        """In the order opposite to starting. Containers and mounts end with the namespaces (scripts/lib/cluster.sh)."""
        for agent in self.agents:
            agent.discard()
        for process in reversed(list(self.parts.values())):
            process.kill()

    def add_agent(self, name):
        """Another node that joins this one. It has no images of ours yet."""
        agent = Agent(self, name, len(self.agents) + 1)
        self.agents.append(agent)
        agent.start()
        return agent

    # ---- set-up

    def program(self, name):
        path = PLATFORM / name
        assert path.exists(), f"{path} is not built: run scripts/test cluster"
        return path

    def _kubernetes(self, part):
        return [self.program("kubernetes"), part]

    def _start(self, name, *command):
        self.parts[name] = Process(command, self.folder / f"{name}.log", cwd=self.folder)

    def _network(self):
        if subprocess.run(["ip", "link", "show", "node0"], capture_output=True).returncode == 0:
            return
        for command in ("link add node0 type bridge", f"address add {ADDRESS}/24 dev node0", "link set node0 up"):
            subprocess.run(["ip", *command.split()], check=True)
        # traffic to anywhere else ends here
        subprocess.run(["ip", "route", "add", "default", "dev", "node0"], check=True)
        for setting in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
            pathlib.Path("/proc/sys/net", setting).write_text("1")

    def _write_files(self):
        authority = Authority(self.folder / "certificates")
        self.server = f"https://{ADDRESS}:{PORT}"
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
        (self.folder / "cni" / "10-pods.conflist").write_text(files.cni())
        (self.folder / "containerd.toml").write_text(files.containerd(self.folder))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "kubelet.yaml").write_text(files.kubelet(self.folder, authority, os.environ["FIELDGATE_NODE_CGROUP"]))
        wrapper = self.folder / "kubectl"
        wrapper.write_text("#!/bin/sh\nexec " + " ".join(self.kubectl_command) + ' "$@"\n')
        wrapper.chmod(0o755)
        self.kubectl_program = wrapper

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

    def _own_images(self):
        pause = self.folder / "pause"
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", pause, pathlib.Path(__file__).with_name("pause.c")], check=True)
        for name, program in ((files.PAUSE, pause), (files.COREDNS, self.program("coredns"))):
            entrypoint = "/" + name.split("/")[1].split(":")[0]
            self.load_image(images.archive(self.folder / (entrypoint.lstrip("/") + ".tar"), name, program, entrypoint))

    def _is_ready(self):
        nodes = self.get("nodes")["items"]
        return any(c["type"] == "Ready" and c["status"] == "True" for node in nodes for c in node["status"]["conditions"])

    def make_volume(self, claim, user=65532):
        """The folder that a static local volume is on, as `fieldgate install` makes it."""
        path = self.volumes / claim
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, user, user)
        path.chmod(0o750)


def _listens(address, port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0
