"""What a test asks of the cluster: kubectl, and what stands behind a pod on this machine."""

import json
import pathlib
import subprocess

from fieldgate_testing.waiting import wait_for


class KubectlError(AssertionError):
    """kubectl refused; the text is what it said."""


class Api:
    """Needs of the class that takes it in: `kubectl_command`, `ctr_command`."""

    def kubectl(self, *arguments, stdin=None, check=True, timeout=120):
        command = [*self.kubectl_command, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind, name=None, namespace="fieldgate", selector=None):
        arguments = ["get", kind, "-n", namespace, "-o", "json"]
        if name:
            arguments.append(name)
        if selector:
            arguments += ["-l", selector]
        return json.loads(self.kubectl(*arguments))

    def apply(self, what, namespace=None, server_side=False):
        """A YAML text, or the path of a file or folder."""
        is_path = isinstance(what, pathlib.Path)
        arguments = ["apply", "-f", what if is_path else "-"]
        if namespace:
            arguments += ["-n", namespace]
        if server_side:
            arguments += ["--server-side", "--force-conflicts"]
        return self.kubectl(*arguments, stdin=None if is_path else what)

    def delete(self, kind, name, namespace="fieldgate", wait=False):
        return self.kubectl("delete", kind, name, "-n", namespace, f"--wait={str(wait).lower()}", "--ignore-not-found")

    def pods(self, namespace="fieldgate", selector=None):
        return self.get("pods", namespace=namespace, selector=selector)["items"]

    def logs(self, pod, container, namespace="fieldgate", previous=False):
        return self.kubectl("logs", pod, "-c", container, "-n", namespace, *(["--previous"] if previous else []))

    def wait_ready(self, kind, name, namespace="fieldgate", timeout=120):
        """A Deployment, StatefulSet or Pod whose wanted generation is rolled out and ready."""

        def ready():
            try:
                item = self.get(kind, name, namespace)
            except KubectlError as error:
                raise AssertionError(str(error)) from None
            status = item.get("status", {})
            if kind.lower().startswith("pod"):
                return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
            wanted = item["spec"].get("replicas", 1)
            current = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
            return current and all(status.get(key, 0) == wanted for key in ("readyReplicas", "updatedReplicas", "replicas"))

        try:
            return wait_for(ready, f"{kind} {namespace}/{name} to be ready", timeout, interval=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.explain(namespace)}") from None

    def explain(self, namespace="fieldgate"):
        """Pods and the newest events of a namespace, for the message of a failed check."""
        pods = self.kubectl("get", "pods", "-n", namespace, "-o", "wide", check=False)
        events = self.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False)
        return pods + "\n".join(events.splitlines()[-15:]) + "".join(self._last_words(namespace))

    def _last_words(self, namespace):
        """The end of the log of every container that is not ready, and why a pod has no node."""
        for pod in self.pods(namespace):
            name = pod["metadata"]["name"]
            status = pod["status"]
            for condition in status.get("conditions", []):
                if condition["type"] == "PodScheduled" and condition["status"] != "True":
                    yield f"\n--- {name}: {condition.get('message')}"
            for container in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
                if container["ready"]:
                    continue
                arguments = ["logs", name, "-c", container["name"], "-n", namespace, "--tail=12"]
                log = self.kubectl(*arguments, check=False) or self.kubectl(*arguments, "--previous", check=False)
                yield f"\n--- {name}, {container['name']}:\n{log[-2500:]}"

    # ---- behind a pod

    def containers(self, pod, namespace="fieldgate"):
        """Container names of a running pod and their containerd ids."""
        status = self.get("pod", pod, namespace)["status"]
        every = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        return {c["name"]: c["containerID"].removeprefix("containerd://") for c in every if c.get("state", {}).get("running")}

    def pids(self, pod, namespace="fieldgate"):
        """Each running container's processes."""
        found = {}
        for name, identity in self.containers(pod, namespace).items():
            lines = self.ctr("tasks", "ps", identity).splitlines()[1:]
            found[name] = [int(line.split()[0]) for line in lines if line.strip()]
        return found

    def exec_in_pod_network(self, pod, namespace="fieldgate"):
        """The command prefix that runs a program of this machine in the pod's network."""
        pids = next(pids for pids in self.pids(pod, namespace).values() if pids)
        return ["nsenter", f"--net=/proc/{pids[0]}/ns/net"]

    def ctr(self, *arguments, stdin=None):
        done = subprocess.run([*self.ctr_command, *map(str, arguments)], stdin=stdin, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"ctr {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout

    def load_image(self, path):
        """Imports an image archive (.tar or .tar.zst), as k3s does with its agent/images folder."""
        path = pathlib.Path(path)
        if path.suffix != ".zst":
            return self.ctr("images", "import", path)
        with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE) as unpacked:
            loaded = self.ctr("images", "import", "-", stdin=unpacked.stdout)
        assert unpacked.returncode == 0, f"zstd could not unpack {path}"
        return loaded

    def retag_image(self, old, new):
        """Another name for an image that is here."""
        self.ctr("images", "tag", "--force", old, new)

    def image_names(self):
        return set(self.ctr("images", "list", "-q").split())
