"""One of our modules as a process beside its sidecar."""

import re

from .process import Process, free_ports, program
from .sidecar import call


class Module:
    """Starts at once with the given configuration document (a text)."""

    def __init__(self, folder, name, document, sidecar, appliance="test"):
        self.sidecar = sidecar
        self.configuration = folder / f"{name}.yaml"
        self.configuration.write_text(document)
        (self.ops_port,) = free_ports(1)
        environment = {
            **sidecar.environment(),
            "FIELDGATE_CONFIG": str(self.configuration),
            "FIELDGATE_APPLIANCE": appliance,
            "FIELDGATE_OPS_ADDRESS": f"127.0.0.1:{self.ops_port}",
        }
        self.process = Process([program(name)], folder / f"{name}.log", env=environment)

    def ops(self, path, timeout=5):
        return call("GET", f"http://127.0.0.1:{self.ops_port}{path}", timeout=timeout)

    def is_ready(self):
        return self.ops("/readyz")[0] == 200

    def metric(self, name):
        """The sum of a metric over all its labels."""
        _, text = self.ops("/metrics")
        lines = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", str(text), re.MULTILINE)
        return sum(float(value) for value in lines)

    def configure(self, document):
        """Replaces the configuration as an editor or a package manager does: a new file renamed over the old one."""
        replacement = self.configuration.with_suffix(".new")
        replacement.write_text(document)
        replacement.rename(self.configuration)

    def log_tail(self):
        return self.process.log_tail()

    def stop(self):
        return self.process.stop()
