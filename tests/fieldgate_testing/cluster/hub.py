"""The IoT Hub emulator on this machine, under a name that pods resolve."""

import json

from fieldgate_testing.emulator import Emulator
from fieldgate_testing.process import Process, program

NAMESPACE, PORT = "fieldgate-test", 8883
NAME = f"hub.{NAMESPACE}.svc.cluster.local"


def manifests(address):
    """A Service without a selector, and where it leads."""
    metadata = {"name": "hub", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"name": "mqtts", "port": PORT, "protocol": "TCP"}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "hub"}},
            "addressType": "IPv4",
            "ports": [{"name": "mqtts", "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
    ]


class HubProcess:
    """Starts at once; `emulator` is its control interface."""

    def __init__(self, folder, address):
        command = [program("iothub-emulator"), "--data", folder, "--host-name", NAME]
        command += ["--mqtt-address", f"{address}:{PORT}", "--control-address", "127.0.0.1:0"]
        self.process = Process(command, folder / "emulator.log")
        endpoints = folder / "endpoints.json"
        try:
            self.process.wait_until(endpoints.exists, "the emulator to be ready")
            self.emulator = Emulator(json.loads(endpoints.read_text()))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.process.stop()
