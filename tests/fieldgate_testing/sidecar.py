"""daprd for one application, with JetStream as its pub/sub component."""

import json
import urllib.error
import urllib.request

from .broker import STREAM
from .process import Process, free_ports, platform

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method, url, body=None, timeout=20):
    """An HTTP request with a JSON body; returns the status and the JSON or text of the answer, whatever the status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    try:
        with NO_PROXY.open(request, timeout=timeout) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except json.JSONDecodeError:
        return status, text


def component(name, kind, metadata, version="v1"):
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "version": version, "metadata": [{"name": key, "value": value} for key, value in metadata.items()]},
    }


def jetstream(name, broker, **metadata):
    """A pub/sub component; one that subscribes needs a `durableName` and serves one topic."""
    return component(name, "pubsub.jetstream", {"natsURL": broker.url, "streamName": STREAM, **metadata}, "v2")


class Sidecar:
    """Starts at once; it waits for its application by itself. `names` is the folder in which sidecars that invoke each other find each other."""

    def __init__(self, folder, app, broker, components=(), names=None):
        self.app = app
        self.app_port, self.http_port, self.grpc_port, internal = free_ports(4)
        resources = folder / "resources"
        resources.mkdir(parents=True)
        for one in [jetstream("pubsub", broker), *components]:
            # JSON is YAML.
            (resources / f"{one['metadata']['name']}.yaml").write_text(json.dumps(one))
        configuration = {
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Configuration",
            "metadata": {"name": "test"},
            "spec": {
                # mdns needs an interface with multicast; a file works on loopback alone. Its clean-up deletes entries
                # that are fresh (Dapr 1.18.3), upon which the sidecar ends: off.
                "nameResolution": {
                    "component": "sqlite",
                    "version": "v1",
                    "configuration": {"connectionString": str((names or folder) / "names.db"), "cleanupInterval": "0"},
                },
                "tracing": {"samplingRate": "0"},
                "metrics": {"enabled": False},
                "mtls": {"enabled": False},
            },
        }
        (folder / "configuration.yaml").write_text(json.dumps(configuration))
        flags = {
            "app-id": app,
            "app-port": self.app_port,
            "app-protocol": "http",
            "dapr-http-port": self.http_port,
            "dapr-grpc-port": self.grpc_port,
            "dapr-internal-grpc-port": internal,
            "dapr-internal-grpc-listen-address": "127.0.0.1",
            "dapr-listen-addresses": "127.0.0.1",
            "resources-path": resources,
            "config": folder / "configuration.yaml",
            "dapr-graceful-shutdown-seconds": 1,
        }
        command = platform("fieldgate-dapr") + [f"--{flag}={value}" for flag, value in flags.items()] + ["--enable-metrics=false"]
        environment = {"DAPR_HOST_IP": "127.0.0.1", "NAMESPACE": "default", "NO_PROXY": "127.0.0.1,localhost"}
        self.process = Process(command, folder / "daprd.log", env=environment)

    def environment(self):
        """What tells the application where its sidecar is."""
        return {"DAPR_HTTP_PORT": str(self.http_port), "DAPR_GRPC_PORT": str(self.grpc_port), "FIELDGATE_APP_PORT": str(self.app_port)}

    def invoke(self, method, body, timeout=20):
        """Calls a command of the application through the sidecar; returns status and answer."""
        return call("POST", f"http://127.0.0.1:{self.http_port}/v1.0/invoke/{self.app}/method/{method}", body, timeout)

    def get(self, method):
        return call("GET", f"http://127.0.0.1:{self.http_port}/v1.0/invoke/{self.app}/method/{method}")

    def is_ready(self):
        return call("GET", f"http://127.0.0.1:{self.http_port}/v1.0/healthz")[0] == 204

    def stop(self):
        return self.process.stop()
