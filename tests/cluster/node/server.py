"""The first node of a cluster, whatever its Kubernetes is made of: its network, its volumes, its agents."""

import os
import pathlib
import shutil
import socket
import subprocess

from fieldgate_testing.process import PLATFORM

from . import files, images
from .api import Api

NAME = "gate"
ADDRESS = "10.41.0.1"
# A network namespace of its own, so that no machine's packet filter sees what two others say to each other.
LINE, BRIDGE = "line", "switch"
CABLE = "node0"
PORT = 6443
KUBELET = pathlib.Path("/var/lib/kubelet")
# The folders of the volumes are here.
STORAGE = "--node-labels=fieldgate.io/storage=true"


class Server(Api):
    """Needs of the class that takes it in: `agent`, the class of its agents, and a process `main` that serves the API."""

    # The folder whose files Kubernetes applies by itself.
    manifests = None
    # Whether routes between the pods of several nodes are this test's business.
    routes = True
    address = ADDRESS
    server = f"https://{ADDRESS}:{PORT}"
    kubelet_directory = KUBELET

    def __init__(self, folder):
        assert os.environ.get("FIELDGATE_NODE_NAMESPACE"), "start cluster tests with scripts/test cluster: they need namespaces of their own"
        self.folder = pathlib.Path(folder)
        self.agents = []
        self.volumes = pathlib.Path("/var/lib/fieldgate/volumes")

    def wait_api(self):
        self.main.wait_until(lambda: "ok" == self.kubectl("get", "--raw=/readyz", check=False), "the API server", timeout=90)

    def add_agent(self, name):
        """Another node that joins this one. It has no images of ours yet."""
        agent = self.agent(self, name, len(self.agents) + 1)
        self.agents.append(agent)
        agent.start()
        return agent

    def discard_agents(self):
        for agent in self.agents:
            agent.discard()

    def program(self, name):
        path = PLATFORM / name
        assert path.exists(), f"{path} is not built: run scripts/test cluster"
        return path

    def make_volume(self, claim, user=65532):
        """The folder that a static local volume is on, as `fieldgate install` makes it."""
        make_volume(self.volumes / claim, user)

    def kubectl_wrapper(self):
        """kubectl as one word, for programs that are told how to call it."""
        self.kubectl_program = self.folder / "kubectl"
        self.kubectl_program.write_text("#!/bin/sh\nexec " + " ".join(self.kubectl_command) + ' "$@"\n')
        self.kubectl_program.chmod(0o755)

    def make_network(self):
        """The line between the machines, and this one's cable to it."""
        if subprocess.run(["ip", "link", "show", CABLE], capture_output=True).returncode == 0:
            return
        subprocess.run(["ip", "netns", "add", LINE], check=True)
        on_line("link", "add", BRIDGE, "type", "bridge")
        on_line("link", "set", BRIDGE, "up")
        for command in (f"link add {CABLE} type veth peer name {NAME} netns {LINE}", f"address add {ADDRESS}/24 dev {CABLE}", f"link set {CABLE} up"):
            subprocess.run(["ip", *command.split()], check=True)
        on_line("link", "set", NAME, "master", BRIDGE, "up")
        # traffic to anywhere else ends here
        subprocess.run(["ip", "route", "add", "default", "dev", CABLE], check=True)
        for setting in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
            pathlib.Path("/proc/sys/net", setting).write_text("1")

    def own_images(self):
        """Archives of what every node needs and no release brings here: the pause program and CoreDNS."""
        pause = self.folder / "pause"
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", pause, pathlib.Path(__file__).with_name("pause.c")], check=True)
        for name, program in ((files.PAUSE, pause), (files.COREDNS, self.program("coredns"))):
            entrypoint = "/" + name.split("/")[1].split(":")[0]
            yield images.archive(self.folder / (entrypoint.lstrip("/") + ".tar"), name, program, entrypoint)

    def is_ready(self, name=NAME):
        nodes = [node for node in self.get("nodes")["items"] if node["metadata"]["name"] == name]
        return any(c["type"] == "Ready" and c["status"] == "True" for node in nodes for c in node["status"]["conditions"])


def on_line(*arguments):
    """`ip` where the line between the machines is."""
    subprocess.run(["ip", "-n", LINE, *arguments], check=True)


def make_volume(path, user):
    path.mkdir(parents=True, exist_ok=True)
    shutil.chown(path, user, user)
    path.chmod(0o750)


def listens(address, port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0
