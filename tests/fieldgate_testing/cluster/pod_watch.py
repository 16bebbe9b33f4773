"""Sees every version of every pod object, and keeps those that must never be."""

import json
import os
import signal
import subprocess
import threading

SIDECAR = "daprd"


def wants_sidecar(pod):
    """Whether the pod is a Dapr application."""
    metadata = pod["metadata"]
    enabled = metadata.get("annotations", {}).get("dapr.io/enabled") == "true"
    return enabled or "fieldgate.io/sidecar" in metadata.get("labels", {})


def has_sidecar(pod):
    spec = pod["spec"]
    return any(container["name"] == SIDECAR for container in spec.get("initContainers", []) + spec["containers"])


class PodWatch:
    """Starts at once. `kubectl get --watch` in a thread: it also sees pods that live for an instant only."""

    def __init__(self, node, log_path):
        self.command = [*node.kubectl_command, "get", "pods", "--all-namespaces", "--watch", "--output-watch-events", "-o", "json"]
        self.log_path = log_path
        self.lock = threading.Condition()
        # Dapr applications by (namespace, name, uid), and those without a sidecar.
        self.applications = {}
        self.bare = {}
        self.connections = 0
        self.stopping = threading.Event()
        self.process = None
        self.thread = threading.Thread(target=self._run, name="pod watch", daemon=True)
        self.thread.start()

    def _run(self):
        """A watch ends with the API server it asks; the next one begins with every pod that is there."""
        while not self.stopping.is_set():
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
                self.connections += 1
                self._read(self.process.stdout)
                self.process.stdout.close()
                self.process.wait()
            self.stopping.wait(0.2)

    def _read(self, lines):
        """kubectl indents: an object ends with the line that is a single brace."""
        text = []
        for line in lines:
            text.append(line)
            if line.rstrip() == "}" or (len(text) == 1 and line.rstrip().endswith("}")):
                self._take(json.loads("".join(text)))
                text.clear()

    def _take(self, told):
        pod = told.get("object", told)
        if pod.get("kind") != "Pod" or not wants_sidecar(pod):
            return
        metadata = pod["metadata"]
        key = (metadata["namespace"], metadata["name"], metadata["uid"])
        with self.lock:
            self.applications[key] = has_sidecar(pod)
            if not self.applications[key]:
                self.bare.setdefault(key, pod)
            self.lock.notify_all()

    def check(self):
        """No Dapr application has ever been without its sidecar, and there were some to see."""
        with self.lock:
            assert self.thread.is_alive(), f"the watch has ended, see {self.log_path}"
            assert self.applications, f"the watch has seen no Dapr application, see {self.log_path}"
            assert not self.bare, f"pods without their sidecar: {json.dumps(list(self.bare.values()), indent=1)[:8000]}"

    def stop(self):
        self.stopping.set()
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        self.thread.join(10)
