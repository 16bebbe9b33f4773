"""All peers together, and the one reader configuration that covers them."""

import json
from contextlib import ExitStack

from . import contents, simulated
from .libmodbus_server import LibmodbusServer, build
from .pymodbus_server import PymodbusServer
from .serial_line import SerialLine

# Devices that hold everything, one for each peer and transport.
FULL = ["pymodbus-tcp", "pymodbus-rtu", "libmodbus-tcp", "libmodbus-rtu"]
# How often the small groups are read, in seconds.
FAST = 0.1


class Plant:
    """Starts at once. Units: 1 everywhere; 2 is the quiet neighbour, 3 the one with holes."""

    def __init__(self, folder):
        self.full = contents.with_writable(contents.complete(contents.full()))
        self.holes = contents.with_holes()
        self.small = contents.small()
        full, small = self.full.image, self.small.image
        with ExitStack() as stack:

            def keep(part):
                stack.callback(part.close)
                return part

            program = build(folder)
            self.pymodbus_line = keep(SerialLine(folder, "pymodbus"))
            self.libmodbus_line = keep(SerialLine(folder, "libmodbus"))
            self.peers = {
                "pymodbus-tcp": keep(PymodbusServer({1: full, 3: self.holes.image})),
                "pymodbus-rtu": keep(PymodbusServer({1: full, 2: small}, serial_path=self.pymodbus_line.theirs)),
                "libmodbus-tcp": keep(LibmodbusServer(program, full, 1)),
                "libmodbus-rtu": keep(LibmodbusServer(program, full, 1, serial_path=self.libmodbus_line.theirs)),
                "shared": keep(PymodbusServer({1: small, 2: small})),
                "power": keep(PymodbusServer({1: small})),
            }
            self.simulated = keep(simulated.SimulatedDevices(folder))
            self.stack = stack.pop_all()

    def close(self):
        self.stack.close()

    def get(self, device, table, address, count=1):
        """What a device with everything holds, asked from the peer itself."""
        peer = self.peers[device]
        return peer.get(1, table, address, count) if isinstance(peer, PymodbusServer) else peer.get(table, address, count)

    def configuration(self, version="1"):
        """As Python objects; `document` makes the text."""
        links = []
        for name, peer in self.peers.items():
            link = {"name": name, "timeout": "1s", "reconnect": "100ms"}
            if peer.port:
                link["tcp"] = {"host": "127.0.0.1", "port": peer.port}
            else:
                line = self.pymodbus_line if name.startswith("pymodbus") else self.libmodbus_line
                link["serial"] = {"path": str(line.ours), "baud_rate": 115200, "parity": "none"}
            links.append(link)
        links += [
            {"name": "simulated-tcp", "tcp": {"host": "127.0.0.1", "port": self.simulated.port}, "timeout": "300ms", "reconnect": "100ms"},
            {"name": "simulated-rtu", "serial": {"path": str(self.simulated.link)}, "timeout": "300ms", "reconnect": "100ms"},
        ]
        patient = {"unit": 1, "retries": 1, "park_after": 3, "park_for": "2s"}
        hasty = {"retries": 0, "park_after": 2, "park_for": "2s"}
        devices = [{"name": name, "link": name, **patient} for name in FULL]
        devices += [
            {"name": "holes", "link": "pymodbus-tcp", **patient, "unit": 3, "max_gap": 0},
            {"name": "steady", "link": "shared", "unit": 1, **hasty},
            {"name": "quiet", "link": "shared", "unit": 2, **hasty},
            {"name": "quiet-rtu", "link": "pymodbus-rtu", "unit": 2, **hasty},
            {"name": "power", "link": "power", "unit": 1, **hasty},
        ]
        never_parked = {"retries": 1, "park_after": 1000}
        devices += [{"name": name, "link": name, "unit": unit, **never_parked} for name, unit in simulated.DEVICES.items()]
        next(link for link in links if link["name"] == "shared")["timeout"] = "200ms"
        groups = [
            {"name": "all", "devices": FULL, "period": "500ms", "tags": self.full.tags},
            {"name": "writable", "devices": FULL, "period": "250ms", "tags": [{**tag, "writable": True} for tag in contents.WRITABLE]},
            {"name": "holes", "devices": ["holes"], "period": "200ms", "tags": self.holes.tags},
            {"name": "fast", "devices": ["steady", "quiet", "power"], "period": "100ms", "tags": self.small.tags},
            {"name": "slow", "devices": ["quiet-rtu"], "period": "500ms", "tags": self.small.tags},
        ]
        for block in simulated.BLOCKS:
            groups.append({"name": block, "devices": list(simulated.DEVICES), "period": "200ms", "tags": simulated.points(block)})
        return {"name": "conformance", "version": version, "links": links, "devices": devices, "groups": groups}


def document(configuration):
    """A configuration as text; JSON is YAML."""
    return json.dumps(configuration, indent=1)
