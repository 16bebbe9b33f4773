"""A machine beside the first node: network, mounts and processes of its own, joined to the same line."""

import os
import pathlib
import shutil
import subprocess

from fieldgate_testing.process import Process
from fieldgate_testing.waiting import wait_for

from . import files
from .api import Api
from .server import BRIDGE, LINE, make_volume, on_line

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


class Machine(Api):
    """Needs of the class that takes it in: `_start_parts`. `number` counts from 1 and is in all its addresses."""

    # Folders of `state` that nobody needs once the machine is gone for good: the most of what it has on the disk.
    discarded = ()

    def __init__(self, server, name, number):
        self.server, self.name, self.number = server, name, number
        self.folder = server.folder / name
        self.state = self.folder / "state"
        self.address = f"10.41.0.{number + 1}"
        self.link = f"veth-{name}"
        self.volumes = self.state / "var/lib/fieldgate/volumes"
        self.kubectl_command = server.kubectl_command
        self.cgroup = f"{os.environ['FIELDGATE_NODE_CGROUP']}/{name}"
        self.machine = None
        self.folder.mkdir()
        self._make_cgroups()

    # ---- life

    def start(self):
        """Until the node is Ready: the first time, or as after a power cut, with what is on its disk."""
        (self.state / "begun").unlink(missing_ok=True)
        self.runtime_endpoint.unlink(missing_ok=True)
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--mount-proc"]
        environment = {"STATE": str(self.state), "FOLDERS": os.environ["FIELDGATE_NODE_FOLDERS"]}
        self.machine = Process(["unshare", *namespaces, "bash", "-euc", BEGIN], self.folder / "machine.log", env=environment)
        self.machine.wait_until((self.state / "begun").exists, f"{self.name} to have its namespaces")
        self._network()
        self._start_parts()

    def stop(self):
        """As when its power fails: every process of it ends in the same moment, and nobody is told."""
        if self.machine:
            self.machine.kill()

    def discard(self):
        """For good."""
        self.stop()
        for folder in self.discarded:
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def is_ready(self):
        return self.server.is_ready(self.name)

    def run(self, name, *command, env=None):
        """A program on this machine."""
        own = f"/proc/{self.machine.process.pid}/ns"
        enter = ["nsenter", f"--net={own}/net", f"--mount={own}/mnt", f"--pid={own}/pid_for_children", "--"]
        return Process([*enter, *command], self.folder / f"{name}.log", cwd=self.folder, env=env)

    def make_volume(self, claim, user=65532):
        """As `Server.make_volume`, on this node."""
        make_volume(self.volumes / claim, user)

    # ---- set-up

    def _make_cgroups(self):
        for hierarchy in cgroup_hierarchies():
            group = hierarchy / self.cgroup.lstrip("/")
            group.mkdir(exist_ok=True)
            # As scripts/lib/cluster.sh: a new cpuset group of version 1 is empty until it says which.
            if (hierarchy / "cpuset.mems").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (group / name).write_text((hierarchy / name).read_text())

    def _network(self):
        """A cable to the line, and routes to the pods of all others and back."""
        pid = self.machine.process.pid
        # That of an earlier life goes with its network, a moment later.
        wait_for(lambda: not exists(self.link), f"{self.link} to be gone")
        on_line("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        on_line("link", "set", self.link, "master", BRIDGE, "up")
        ip("address", "add", f"{self.address}/24", "dev", "eth0", inside=pid)
        ip("link", "set", "eth0", "up", inside=pid)
        ip("route", "add", "default", "dev", "eth0", inside=pid)
        if not self.server.routes:
            return
        ip("route", "replace", files.pods(0), "via", self.server.address, inside=pid)
        ip("route", "replace", files.pods(self.number), "via", self.address)
        for other in self.server.agents:
            if other is not self and other.machine and other.machine.running():
                ip("route", "replace", files.pods(other.number), "via", other.address, inside=pid)
                ip("route", "replace", files.pods(self.number), "via", self.address, inside=other.machine.process.pid)


def ip(*arguments, inside=None):
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*enter, "ip", *arguments], check=True)


def exists(link):
    return subprocess.run(["ip", "-n", LINE, "link", "show", link], capture_output=True).returncode == 0


def cgroup_hierarchies():
    mounts = (line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines())
    return [pathlib.Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
