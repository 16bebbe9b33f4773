"""Field devices to read: field-simulator with the devices on ports of the host that pods reach."""

import json

from fieldgate_testing.process import Process, program


class Plant:
    """`devices` devices with `registers` holding registers each, to be read every `period_ms`."""

    def __init__(self, folder, address, devices, registers, period_ms):
        self.names = [f"device-{number}" for number in range(1, devices + 1)]
        self.period_ms = period_ms
        self.tags = [{"name": f"r{address}", "table": "holding-register", "address": address, "type": "u16"} for address in range(registers)]
        plan = [{"name": name, "unit": unit, "tcp": {"listen": f"{address}:0"}, "points": self.tags} for unit, name in enumerate(self.names, 1)]
        (folder / "plan.yaml").write_text(json.dumps({"step": "200ms", "devices": plan}))
        ready = folder / "ready.json"
        self.process = Process([program("field-simulator"), "--plan", folder / "plan.yaml", "--ready-file", ready], folder / "simulator.log")
        self.process.wait_until(ready.exists, "field-simulator to be ready")
        listening = {device["listen"] for device in json.loads(ready.read_text())["devices"]}
        self.ports = [int(address.rpartition(":")[2]) for address in listening]

    def reader_document(self, host):
        """All devices behind one address, told apart by their unit; each over a link of its own, as in the pipeline benchmark."""
        (port,) = self.ports
        return {
            "name": "load",
            "version": "1",
            "links": [{"name": name, "tcp": {"host": host, "port": port}, "timeout": "1s"} for name in self.names],
            "devices": [{"name": name, "link": name, "unit": unit} for unit, name in enumerate(self.names, 1)],
            "groups": [{"name": "load", "devices": self.names, "period": f"{self.period_ms}ms", "tags": self.tags}],
        }
