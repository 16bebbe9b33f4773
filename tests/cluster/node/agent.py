"""Another node, as `k3s agent` would be: network, mounts and processes of its own, joined to the bridge of the first one."""

import os
import pathlib
import shutil
import subprocess

from fieldgate_testing.process import Process
from fieldgate_testing.waiting import wait_for

from . import files
from .api import Api

BRIDGE = "node0"
# Folders that a machine has for itself.
OWN = ("/var/lib/kubelet", "/var/lib/cni", "/var/lib/fieldgate", "/run/netns")
# The first process of the node: with it, everything on the node ends. What the first node has mounted is no business of this one.
BEGIN = """
mount --make-rshared /
for folder in $FOLDERS; do
  umount --recursive --lazy "$folder" 2>/dev/null || true
  mkdir -p "$STATE$folder"
  mount --bind "$STATE$folder" "$folder"
done
mount --make-rshared /run/netns
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
touch "$STATE/begun"
exec sleep infinity
"""


class Agent(Api):
    """containerd, kubelet, kube-proxy and the policy controller. `number` counts from 1 and is in all its addresses."""

    def __init__(self, server, name, number):
        self.server, self.name, self.number = server, name, number
        self.folder = server.folder / name
        self.state = self.folder / "state"
        self.address = f"10.41.0.{number + 1}"
        self.link = f"veth-{name}"
        self.volumes = self.state / "var/lib/fieldgate/volumes"
        self.runtime_endpoint = self.folder / "containerd.sock"
        self.ctr_command = ["ctr", "--address", str(self.runtime_endpoint), "--namespace", "k8s.io"]
        self.kubectl_command = server.kubectl_command
        self.cgroup = f"{os.environ['FIELDGATE_NODE_CGROUP']}/{name}"
        self.machine = None
        self._write_files()

    # ---- life

    def start(self):
        """Until the node is Ready: the first time, or as after a power cut, with what is on its disk."""
        (self.state / "begun").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        self.runtime_endpoint.unlink(missing_ok=True)
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--mount-proc"]
        environment = {"STATE": str(self.state), "FOLDERS": " ".join(OWN)}
        self.machine = Process(["unshare", *namespaces, "bash", "-euc", BEGIN], self.folder / "machine.log", env=environment)
        self.machine.wait_until((self.state / "begun").exists, f"{self.name} to have its namespaces")
        self._network()
        containerd = self._start("containerd", "containerd", "--config", self.folder / "containerd.toml")
        containerd.wait_until(self.runtime_endpoint.exists, "containerd to listen")
        self.load_image(self.server.folder / "pause.tar")
        kubernetes = self.server.program("kubernetes")
        self._start("kube-proxy", kubernetes, "kube-proxy", "--kubeconfig", self.server.proxy_config, "--proxy-mode=nftables", "--conntrack-max-per-core=0",
                    f"--hostname-override={self.name}", "--metrics-bind-address=127.0.0.1:10249", "--healthz-bind-address=127.0.0.1:10256")  # fmt: skip
        kubelet = self._start("kubelet", kubernetes, "kubelet", "--kubeconfig", self.kubelet_config, "--config", self.folder / "kubelet.yaml",
                              "--root-dir=/var/lib/kubelet", f"--cert-dir={self.folder}/kubelet", f"--hostname-override={self.name}",
                              f"--node-ip={self.address}", "--node-labels=fieldgate.io/storage=true")  # fmt: skip
        kubelet.wait_until(self.is_ready, f"node {self.name} to be Ready", timeout=90)
        policies = self.server.program("network-policy")
        self._start("network-policy", policies, "--kubeconfig", self.server.admin_config, "--hostname-override", self.name)

    def stop(self):
        """As when its power fails: every process of it ends in the same moment, and nobody is told."""
        if self.machine:
            self.machine.kill()

    def discard(self):
        """For good: without its images, which are the most of what it has on the disk."""
        self.stop()
        for folder in ("containerd", "run"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def is_ready(self):
        nodes = [node for node in self.get("nodes")["items"] if node["metadata"]["name"] == self.name]
        return any(c["type"] == "Ready" and c["status"] == "True" for node in nodes for c in node["status"]["conditions"])

    # ---- set-up

    def _write_files(self):
        self.folder.mkdir()
        (self.folder / "cni").mkdir()
        self.kubelet_config = self.server.authority.kubeconfig(f"kubelet-{self.name}", self.server.server, f"system:node:{self.name}", "system:nodes")
        (self.folder / "cni" / "10-pods.conflist").write_text(files.cni(self.number))
        (self.folder / "containerd.toml").write_text(files.containerd(self.folder))
        (self.folder / "resolv.conf").write_text("")
        (self.folder / "kubelet.yaml").write_text(files.kubelet(self.folder, self.server.authority, self.cgroup))
        for hierarchy in cgroup_hierarchies():
            group = hierarchy / self.cgroup.lstrip("/")
            group.mkdir(exist_ok=True)
            # As scripts/lib/cluster.sh: a new cpuset group of version 1 is empty until it says which.
            if (hierarchy / "cpuset.mems").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (group / name).write_text((hierarchy / name).read_text())

    def _start(self, name, *command):
        own = f"/proc/{self.machine.process.pid}/ns"
        enter = ["nsenter", f"--net={own}/net", f"--mount={own}/mnt", f"--pid={own}/pid_for_children", "--"]
        return Process([*enter, *command], self.folder / f"{name}.log", cwd=self.folder)

    def _network(self):
        """A cable to the bridge, and routes to the pods of all others and back."""
        pid = self.machine.process.pid
        # That of an earlier life goes with its network, a moment later.
        wait_for(lambda: not exists(self.link), f"{self.link} to be gone")
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        ip("link", "set", self.link, "master", BRIDGE, "up")
        ip("address", "add", f"{self.address}/24", "dev", "eth0", inside=pid)
        ip("link", "set", "eth0", "up", inside=pid)
        ip("route", "add", "default", "dev", "eth0", inside=pid)
        ip("route", "replace", files.pods(0), "via", self.server.address, inside=pid)
        ip("route", "replace", files.pods(self.number), "via", self.address)
        for other in self.server.agents:
            if other is not self and other.machine and other.machine.running():
                ip("route", "replace", files.pods(other.number), "via", other.address, inside=pid)
                ip("route", "replace", files.pods(self.number), "via", self.address, inside=other.machine.process.pid)

    def make_volume(self, claim, user=65532):
        """As `Node.make_volume`, on this node."""
        path = self.volumes / claim
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, user, user)
        path.chmod(0o750)


def ip(*arguments, inside=None):
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*enter, "ip", *arguments], check=True)


def exists(link):
    return subprocess.run(["ip", "link", "show", link], capture_output=True).returncode == 0


def cgroup_hierarchies():
    mounts = (line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines())
    return [pathlib.Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
