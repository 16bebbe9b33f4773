"""Our field-simulator as a peer that misbehaves on command. Its values are computed here once more, from their definition."""

import datetime
import json

from fieldgate_testing.process import Process, program
from fieldgate_testing.sidecar import call

MASK = 2**64 - 1
STEP = 0.05
# Two blocks of the same length: an answer to a request for one of them fits the other.
BLOCKS = {"left": 0, "right": 100}
DEVICES = {"simulated-tcp": 7, "simulated-rtu": 8}


def points(block):
    return [{"name": f"{block}-{index}", "table": "holding-register", "address": BLOCKS[block] + 4 * index, "type": "u64"} for index in range(4)]


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def splitmix64(state):
    value = state + 0x9E3779B97F4A7C15 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def value_at(device, point, step):
    return splitmix64(fnv1a(device) ^ fnv1a(point) ^ step)


def age(device, data, longest):
    """How long before its timestamp the values of an event were true, in seconds; None if they never were within `longest`."""
    complete = datetime.datetime.fromisoformat(data["timestamp"]).timestamp()
    last = int(complete / STEP)
    for step in range(last + 1, int((complete - longest) / STEP) - 1, -1):
        if all(value_at(device, name, step) == value for name, value in data["values"].items()):
            return max(0.0, complete - (step + 1) * STEP)
    return None


class SimulatedDevices:
    """One device on TCP, one on a serial line, with the same points. Starts at once."""

    def __init__(self, folder):
        self.link = folder / "simulated-line"
        where = {"simulated-tcp": {"tcp": {"listen": "127.0.0.1:0"}}, "simulated-rtu": {"serial": {"link": str(self.link)}}}
        every = [point for block in BLOCKS for point in points(block)]
        devices = [{"name": name, "unit": unit, "points": every, **where[name]} for name, unit in DEVICES.items()]
        (folder / "plan.yaml").write_text(json.dumps({"step": f"{STEP * 1000:.0f}ms", "devices": devices}))
        ready = folder / "ready.json"
        self.process = Process([program("field-simulator"), "--plan", folder / "plan.yaml", "--ready-file", ready], folder / "simulator.log")
        self.process.wait_until(ready.exists, "field-simulator to be ready")
        told = json.loads(ready.read_text())
        self.control = f"http://127.0.0.1:{told['control_port']}"
        (listen,) = [device["listen"] for device in told["devices"] if "listen" in device]
        self.port = int(listen.rpartition(":")[2])

    def fault(self, device, kind, **more):
        status, answer = call("POST", f"{self.control}/devices/{device}/faults", {"kind": kind, **more})
        assert status == 200, answer

    def heal(self, device):
        status, answer = call("DELETE", f"{self.control}/devices/{device}/faults")
        assert status == 200, answer

    def close(self):
        self.process.stop()
