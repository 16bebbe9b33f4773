"""A serial port with a simulated slave, and the device plugin that gives it to pods."""

import json
import os
import pathlib
import pty
import tempfile

from modbus_peers.simulated import STEP, points

from fieldgate_testing.process import Process, program

PORT, RESOURCE = "line-1", "fieldgate.io/serial-line-1"
IN_CONTAINER = "/dev/fieldgate/serial-line-1"
METER, UNIT, GROUP = "meter", 7, "serial"
USER = 65532


class SerialLine:
    """field-simulator as a Modbus RTU slave on a pseudo-terminal. Plugged in at once."""

    def __init__(self, folder):
        self.folder = folder
        # A description names ports below /dev only; this is the place there where anybody may make a folder.
        self.place = tempfile.TemporaryDirectory(prefix="fieldgate-test-", dir="/dev/shm")
        self.path = pathlib.Path(self.place.name) / PORT
        plan = {"step": f"{STEP * 1000:.0f}ms", "devices": [{"name": METER, "unit": UNIT, "serial": {"link": str(self.path)}, "points": points("left")}]}
        (folder / "plan.yaml").write_text(json.dumps(plan))
        self.process = None
        self.held = []
        self.plug_in()

    def plug_in(self):
        """As udev would: the terminal belongs to nobody in particular, the link leads to it."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [program("field-simulator"), "--plan", self.folder / "plan.yaml", "--ready-file", ready]
        self.process = Process(command, self.folder / "simulator.log")
        self.process.wait_until(ready.exists, "field-simulator to be ready")
        self.number = os.readlink(self.path)
        os.chmod(self.number, 0o660)
        os.chown(self.number, USER, USER)

    def unplug(self):
        self.process.stop()

    def plug_in_elsewhere(self):
        """The port comes back with another number: the old one is taken by somebody else."""
        old = self.number
        self.plug_in()
        while self.number == old:
            self.unplug()
            self.held.append(pty.openpty())
            self.plug_in()
        return old, self.number

    def close(self):
        self.unplug()
        for ends in self.held:
            for end in ends:
                os.close(end)
        self.place.cleanup()


class DevicePlugin:
    """serial-device-plugin as the service on the host that it is. Starts at once."""

    def __init__(self, folder, node, line):
        document = {
            "ports": [{"name": PORT, "path": str(line.path)}],
            "kubelet_directory": str(node.kubelet_directory / "device-plugins"),
            "runtime_endpoint": str(node.runtime_endpoint),
        }
        configuration = folder / "serial-device-plugin.yaml"
        configuration.write_text(json.dumps(document))
        environment = {"FIELDGATE_OPS_ADDRESS": "127.0.0.1:0"}
        self.process = Process([program("serial-device-plugin"), "--config", configuration], folder / "serial-device-plugin.log", env=environment)

    def stop(self):
        return self.process.stop()


def with_serial(document):
    """A reader's configuration with the meter on the line besides."""
    document["links"].append({"name": PORT, "serial": {"path": IN_CONTAINER, "baud_rate": 115200, "parity": "none"}, "timeout": "300ms", "reconnect": "100ms"})
    document["devices"].append({"name": METER, "link": PORT, "unit": UNIT, "retries": 1, "park_after": 1000})
    document["groups"].append({"name": GROUP, "devices": [METER], "period": "200ms", "tags": points("left")})
    return document
