"""The cluster's certificate authority and one client certificate for each component: made as the reference image makes them."""

import subprocess

from fieldgate_testing.process import ROOT

PROGRAM = ROOT / "image/stand-in/certificates"


class Authority:
    def __init__(self, folder):
        self.folder = folder
        self.certificate = folder / "server-ca.crt"
        self._run("authority", folder)

    def components(self, server, node, *addresses):
        """For the API server, and a kubeconfig for each component of the first node."""
        self._run("components", self.folder, self.folder, server, node, *addresses)

    def kubeconfig(self, name, server, user, group=""):
        """One more client: its user and group as Kubernetes reads them."""
        self._run("kubeconfig", self.folder, self.folder, name, server, user, group)
        return self.folder / f"{name}.kubeconfig"

    @staticmethod
    def _run(*arguments):
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{PROGRAM} {' '.join(map(str, arguments))}: {done.stderr}"
