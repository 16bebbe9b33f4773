"""The IoT Hub emulator as a process, and its control interface."""

import json
import urllib.error
import urllib.request

from .process import Process, program


class ControlError(Exception):
    """The control interface answered with an error status."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


def start_emulator(folder, port=0):
    """The process and its control interface; port 0 takes a free one."""
    command = [program("iothub-emulator"), "--data", folder, "--host-name", "localhost"]
    process = Process(command + ["--mqtt-address", f"127.0.0.1:{port}", "--control-address", "127.0.0.1:0"], folder / "emulator.log")
    endpoints = folder / "endpoints.json"
    try:
        process.wait_until(endpoints.exists, "the emulator to be ready")
    except BaseException:
        process.stop()
        raise
    return process, Emulator(json.loads(endpoints.read_text()))


class Emulator:
    """What a test does to the hub: identities, twins, methods, messages, faults."""

    def __init__(self, endpoints):
        self.host_name = endpoints["host_name"]
        self.mqtt_port = endpoints["mqtt_port"]
        self.ca_file = endpoints["ca_file"]
        self.base = f"http://127.0.0.1:{endpoints['control_port']}"

    def request(self, method, path, body=None, timeout=40):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise ControlError(error.code, error.read().decode()) from None

    def json(self, method, path, body=None, timeout=40):
        text = self.request(method, path, body, timeout)
        return json.loads(text) if text else None

    @staticmethod
    def path_of(device, module=None):
        return f"/devices/{device}" + (f"/modules/{module}" if module else "")

    def create(self, device, module=None):
        return self.json("PUT", self.path_of(device, module), {})

    def messages(self, after=0, device=None):
        """Everything that arrived behind that index; a page that is not full is not the last one, an empty one is."""
        found = []
        while True:
            path = f"/messages?after={after}&limit=10000" + (f"&device={device}" if device else "")
            page = [json.loads(line) for line in self.request("GET", path).splitlines() if line]
            if not page:
                return found
            found += page
            after = page[-1]["index"]

    def page(self, after=0, limit=10000):
        """Some of the messages behind that index, as lines of JSON; empty when there are no more."""
        return self.request("GET", f"/messages?after={after}&limit={limit}").splitlines()

    def count(self):
        return self.json("GET", "/messages/count")["count"]

    def twin(self, device, module=None):
        return self.json("GET", self.path_of(device, module) + "/twin")

    def desire(self, device, desired, module=None):
        return self.json("PATCH", self.path_of(device, module) + "/twin", {"desired": desired})

    def call(self, device, method, payload, module=None, seconds=20):
        body = {"methodName": method, "payload": payload, "responseTimeoutInSeconds": seconds, "connectTimeoutInSeconds": 5}
        # Longer than the hub waits: what it says at the end of that time is the answer.
        return self.json("POST", self.path_of(device, module) + "/methods", body, timeout=seconds + 20)

    def send(self, device, message_id, body, properties=None):
        message = {"messageId": message_id, "body": body, "properties": properties or {}}
        return self.json("POST", self.path_of(device) + "/messages/devicebound", message)

    def pending(self, device):
        return self.json("GET", self.path_of(device) + "/messages/devicebound")

    def fault(self, kind, **detail):
        return self.json("POST", "/faults", {"kind": kind, **detail})

    def end_faults(self):
        return self.json("DELETE", "/faults")
