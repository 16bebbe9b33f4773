"""The appliance as a machine: scripts/run-image, its console, and SSH into it."""

import pathlib
import re
import shlex
import subprocess

from node.api import Api, KubectlError

from fieldgate_testing.process import ROOT, Process, free_ports

STAGE = re.compile(r"^ *([\d.]+) +fieldgate stage: (\S+) ([\d.]+)", re.MULTILINE)
# The longest that a stage may take after the one before, in seconds: about three times what two cores without KVM take.
LIMITS = {"init": 120, "system": 180, "api": 600, "node": 300, "dapr": 600, "running": 600}


class Guest(Api):
    """Starts at once. Everything it says on its console is in `console()`."""

    def __init__(self, disk, folder, *options):
        self.folder = pathlib.Path(folder)
        self.disk = disk
        (self.ssh_port,) = free_ports(1)
        command = [ROOT / "scripts/run-image", "--disk", disk.path, "--forward", f"{self.ssh_port}:22", "--accel", "tcg", *options]
        self.process = Process(command, self.folder / "console.log", typed_at=True)

    # ---- the console

    def console(self):
        return self.process.log()

    def stages(self):
        """The stages of each boot: {name: seconds since the kernel began, by the guest's clock}."""
        boots = []
        for _, name, seconds in STAGE.findall(self.console()):
            if name == "init":
                boots.append({})
            boots[-1][name] = float(seconds)
        return boots

    def wait_stage(self, name, boot=1):
        """Waits through all stages up to this one, each with its own limit: what hangs is told early."""
        for one, limit in LIMITS.items():
            self.process.wait_until(lambda stage=one: len(self.stages()) >= boot and stage in self.stages()[boot - 1], f"stage {one} of boot {boot}", limit)
            if one == name:
                return self.stages()[boot - 1]
        raise AssertionError(f"there is no stage {name}: {', '.join(LIMITS)}")

    def wait_console(self, text, timeout=120):
        """Waits until the console has said this."""
        self.process.wait_until(lambda: text in self.console(), f"{text!r} on the console", timeout)

    def type(self, text):
        self.process.type(text)

    def stop(self):
        """As when its power fails."""
        self.process.kill()

    def start(self):
        """With power again, from the same disk. What it says is added to its console."""
        self.process.start()

    # ---- inside

    def ssh(self, line, stdin=None, check=True, timeout=300):
        """Runs a line of shell as root. The connection stays open for the next one."""
        options = {"StrictHostKeyChecking": "accept-new", "UserKnownHostsFile": self.folder / "known_hosts", "BatchMode": "yes"}
        options |= {"ControlMaster": "auto", "ControlPersist": "60", "ControlPath": f"/tmp/fieldgate-{self.ssh_port}", "ConnectTimeout": "30"}
        command = ["ssh", "-q", *(f"-o{name}={value}" for name, value in options.items()), "-i", self.folder / "key", "-p", self.ssh_port, "root@127.0.0.1", line]
        done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise KubectlError(f"`{line}` in the guest ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments, stdin=None, check=True, timeout=300):
        return self.ssh("kubectl " + shlex.join(map(str, arguments)), stdin, check, timeout)


def make_key(folder):
    """A key pair for SSH in the folder; returns the public half."""
    path = pathlib.Path(folder) / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()
