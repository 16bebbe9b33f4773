"""k3s itself in place of the stand-in: the binary that FIELDGATE_K3S names."""

import hashlib
import os
import pathlib
import shutil
import signal

from fieldgate_testing.process import Process
from fieldgate_testing.waiting import wait_for

from . import files
from .machine import Machine
from .server import ADDRESS, CABLE, NAME, PORT, Server, listens

DATA = pathlib.Path("/var/lib/rancher/k3s")
SETTINGS = pathlib.Path("/etc/rancher/k3s")
RUNTIME = pathlib.Path("/run/k3s/containerd/containerd.sock")
MANIFESTS = DATA / "server/manifests"
TOKEN = "fieldgate-test"
CONTAINERD = "agent/etc/containerd/config-v3.toml.tmpl"


def program():
    """The k3s binary. What it finds in PATH (a build without its wrapper needs containerd, runc and CNI there) may lie beside it."""
    path = pathlib.Path(os.environ["FIELDGATE_K3S"]).absolute()
    assert os.access(path, os.X_OK), f"FIELDGATE_K3S names no program: {path}"
    return path


def environment():
    return {"PATH": f"{program().parent}:{os.environ['PATH']}"}


def tool(name):
    """k3s under another name; its release takes the name as its first word as well."""
    beside = program().with_name(name)
    return [str(beside)] if beside.exists() else [str(program()), name]


def ctr(endpoint):
    return [*tool("ctr"), "--address", str(endpoint), "--namespace", "k8s.io"]


def archives():
    """Those of k3s's release, if FIELDGATE_K3S_IMAGES names their file; without them the test brings pause and CoreDNS."""
    named = os.environ.get("FIELDGATE_K3S_IMAGES")
    return [pathlib.Path(named)] if named else []


def put(root, path, text):
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def write_settings(cgroup, root="/", **own):
    """What a machine of a test needs besides, in files that sort after the appliance's own. `root` is where the machine's `/` is seen."""
    root = pathlib.Path(root)
    if not archives():
        own = {**own, "pause-image": files.PAUSE}
    put(root, SETTINGS / "config.yaml.d/20-test.yaml", "".join(f"{key}: {value}\n" for key, value in own.items()))
    put(root, DATA / "agent/etc/kubelet.conf.d/20-test.conf", files.k3s_kubelet(cgroup))
    put(root, DATA / CONTAINERD, files.K3S_CONTAINERD)


class K3s(Server):
    """`k3s server` on a machine that has nothing of ours yet."""

    k3s = True
    routes = False

    def __init__(self, folder):
        super().__init__(folder)
        self.agent = K3sAgent
        self.manifests = MANIFESTS
        self.runtime_endpoint = RUNTIME
        self.ctr_command = ctr(RUNTIME)
        self.kubectl_command = [*tool("kubectl"), "--kubeconfig", str(SETTINGS / "k3s.yaml"), "--cache-dir", str(self.folder / "kubectl-cache")]
        self.kubectl_wrapper()
        self.main = None

    @property
    def environment(self):
        """In which k3s is found as on a device."""
        return {**os.environ, **environment(), "NO_COLOR": "1"}

    @property
    def processes(self):
        if not (self.main and self.main.running()):
            return {}
        return {"k3s": self.main.process.pid, **{"containerd": pid for pid in children(self.main.process.pid, "containerd")}}

    # ---- life

    def start(self):
        """As after k3s's own installation without Traefik: its chart cannot be taken off again without k3s's Helm controller."""
        self.make_network()
        own = {"node-name": NAME, "node-ip": ADDRESS, "advertise-address": ADDRESS, "flannel-iface": CABLE, "token": TOKEN, "resolv-conf": self._no_names()}
        write_settings(os.environ["FIELDGATE_NODE_CGROUP"], **own, **{"disable+": "[traefik]" if archives() else "[traefik, coredns]"})
        place = DATA / "agent/images"
        place.mkdir(parents=True, exist_ok=True)
        for archive in archives() or self.own_images():
            shutil.copy(archive, place)
        self.main = Process([program(), "server"], self.folder / "k3s.log", cwd=self.folder, env=environment())
        self.wait_api()
        if not archives():
            self.apply(files.coredns())
        self.main.wait_until(self.is_ready, f"node {NAME} to be Ready", timeout=90)

    def _no_names(self):
        path = self.folder / "resolv.conf"
        path.write_text("")
        return path

    def apply(self, what, namespace=None, server_side=False):
        """A file of k3s's own folder is applied by k3s, if it has changed since; a person who wants it again calls kubectl."""
        if not isinstance(what, pathlib.Path) or what.parent != MANIFESTS or self._addon(what) == checksum(what):
            return super().apply(what, namespace, server_side)
        # It looks every 15 s, and again for what could not be applied.
        return wait_for(lambda: self._addon(what) == checksum(what), f"k3s to apply {what.name}", timeout=120, interval=0.5)

    def _addon(self, path):
        """The checksum of the file as k3s has applied it last."""
        return self.kubectl("get", "addons.k3s.cattle.io", path.stem, "-n", "kube-system", "--ignore-not-found", "-o", "jsonpath={.spec.checksum}")

    def restart(self, part):
        """k3s is one program with a containerd of its own: the end of one is the end of both, as after a crash of the service. Containers go on."""
        if part == "containerd":
            os.kill(self.processes["containerd"], signal.SIGKILL)
            wait_for(lambda: not self.main.running(), "k3s to end with its containerd", timeout=60)
        self.main.kill()
        wait_for(lambda: not listens(ADDRESS, PORT), "the API server's port to be free")
        self.main.start()
        self.wait_api()

    def say(self, part):
        """The end of the log, which is that of all parts."""
        return f"--- k3s ({part}):\n{self.main.log_tail()}"

    def stop(self):
        self.discard_agents()
        if self.main:
            self.main.kill()


class K3sAgent(Machine):
    """`k3s agent` on a machine of its own."""

    discarded = ("state/var/lib/rancher", "state/run")

    def __init__(self, server, name, number):
        super().__init__(server, name, number)
        # Seen from here: the socket in its own /run.
        self.runtime_endpoint = self.state / RUNTIME.relative_to("/")
        self.ctr_command = ctr(self.runtime_endpoint)
        own = {"server": server.server, "token": TOKEN, "node-name": name, "node-ip": self.address, "flannel-iface": "eth0"}
        own |= {"resolv-conf": server.folder / "resolv.conf", "node-label": "[fieldgate.io/storage=true]", "nonroot-devices": "true"}
        own |= {"disable-default-registry-endpoint": "true"}
        write_settings(self.cgroup, self.state, **own)
        images = self.state / DATA.relative_to("/") / "agent/images"
        images.mkdir(parents=True, exist_ok=True)
        for archive in archives() or [server.folder / "pause.tar"]:
            shutil.copy(archive, images)

    def _start_parts(self):
        process = self.run("k3s", program(), "agent", env=environment())
        process.wait_until(self.is_ready, f"node {self.name} to be Ready", timeout=90)
        process.wait_until(self.runtime_endpoint.exists, "containerd to listen")


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def children(parent, name):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" ", 1)
        except OSError:
            continue
        command, after = rest[1:].rsplit(") ", 1)
        if command == name and int(after.split()[1]) == parent:
            found.append(int(pid))
    return found
