"""Pods by what they belong to, and what happened to them."""

import json

from fieldgate_testing.waiting import wait_for

DAPR = "dapr-system"


def module_selector(module):
    return f"app.kubernetes.io/name={module}"


def name(pod):
    return pod["metadata"]["name"]


def uid(pod):
    return pod["metadata"]["uid"]


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def ready_pods(node, selector, namespace="fieldgate"):
    return [pod for pod in node.pods(namespace, selector) if is_ready(pod)]


def the_pod(node, selector, namespace="fieldgate", timeout=120):
    """The one pod that is there, once it is ready and alone."""

    def look():
        pods = node.pods(namespace, selector)
        return pods[0] if len(pods) == 1 and is_ready(pods[0]) else None

    try:
        return wait_for(look, f"the one pod with {selector} to be ready", timeout, interval=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{node.explain(namespace)}") from None


def delete(node, pod, grace=None):
    """Returns at once; the pod goes in its own time."""
    metadata = pod["metadata"]
    more = [] if grace is None else [f"--grace-period={grace}"]
    node.kubectl("delete", "pod", metadata["name"], "-n", metadata["namespace"], "--wait=false", "--ignore-not-found", *more)


def wait_gone(node, selector, namespace="fieldgate", timeout=120):
    """Until no such pod is left; the message of a failure says what the last ones wait for."""
    try:
        wait_for(lambda: not node.pods(namespace, selector), f"the pods with {selector} to be gone", timeout, interval=0.2)
    except AssertionError as error:
        left = [json.dumps({"name": name(pod), "deleted": pod["metadata"].get("deletionTimestamp"), **pod["status"]}, indent=1) for pod in node.pods(namespace, selector)]
        raise AssertionError("\n".join([str(error), *left, node.explain(namespace), node.say("kubelet")])) from None


def successor(node, selector, old, namespace="fieldgate", timeout=180):
    """The ready pod that came in place of the old ones, once those are gone."""
    gone = {uid(pod) for pod in old}

    def look():
        pods = node.pods(namespace, selector)
        return not gone & {uid(pod) for pod in pods} and next((pod for pod in pods if is_ready(pod)), None)

    try:
        return wait_for(look, f"another pod with {selector}", timeout, interval=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{node.explain(namespace)}") from None


def replace(node, selector, namespace="fieldgate", timeout=180):
    """Deletes the pods that are there and waits for a ready one in their place."""
    old = node.pods(namespace, selector)
    assert old, f"there is no pod with {selector} in {namespace}"
    for pod in old:
        delete(node, pod)
    return successor(node, selector, old, namespace, timeout)


def events(node, namespace="fieldgate", about=None, reason=None):
    """Kubernetes events about objects whose name begins with `about`."""
    return [
        event
        for event in node.get("events", namespace=namespace)["items"]
        if (about is None or event["involvedObject"].get("name", "").startswith(about)) and reason in (None, event.get("reason"))
    ]


def restricted_pod(pod_name, image, labels=None, annotations=None, **container):
    """A pod without a program of its own that Pod Security `restricted` lets in."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    limits = {"cpu": "100m", "memory": "32Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": limits},
                    "securityContext": security,
                    **container,
                }
            ],
        },
    }
