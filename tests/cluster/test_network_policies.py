"""Paths that no NetworkPolicy opens are closed: tried where the network enforces policies, and worked out on paper where it does not."""

import json
import subprocess
import sys
import warnings

import pytest

from fieldgate_testing.cluster import hub as test_hub
from fieldgate_testing.cluster import pods
from fieldgate_testing.cluster.network_policy import Policies
from fieldgate_testing.waiting import wait_for

PAUSE = "fieldgate.io/pause:1"
OUTSIDE = test_hub.NAMESPACE
BROKER, SIDECAR, METRICS, SENTRY, OPERATOR, HUB = 4222, 50002, 9600, 50001, 6500, test_hub.PORT
LISTEN = "import socket, sys; s = socket.create_server(('0.0.0.0', 7000)); print('ready', flush=True)\nwhile True: s.accept()[0].close()"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"

# (from, to, port, open?). "plc" is the port of the PLC on the host; "stranger" a pod in our namespace that is no module.
PATHS = [
    ("modbus-reader", "broker", BROKER, True),
    ("iothub-module", "broker", BROKER, True),
    ("modbus-reader", "sentry", SENTRY, True),
    ("iothub-module", "operator", OPERATOR, True),
    ("iothub-module", "modbus-reader", SIDECAR, True),
    ("iothub-module", "host", HUB, True),
    ("modbus-reader", "host", "plc", True),
    ("stranger", "broker", BROKER, False),
    ("outsider", "broker", BROKER, False),
    ("stranger", "modbus-reader", SIDECAR, False),
    ("outsider", "modbus-reader", SIDECAR, False),
    ("outsider", "modbus-reader", METRICS, False),
    ("modbus-reader", "iothub-module", METRICS, False),
    ("iothub-module", "host", "plc", False),
    ("stranger", "host", HUB, False),
    ("stranger", "sentry", SENTRY, False),
    ("broker", "host", HUB, False),
]


@pytest.fixture(scope="module")
def peers(system):
    """Pods by the names in `PATHS`, and the host as an address."""
    node = system.node
    for name, namespace in (("stranger", "fieldgate"), ("outsider", OUTSIDE)):
        node.apply(json.dumps(pods.restricted_pod(name, PAUSE)), namespace)
    try:
        found = {name: wait_running(node, name, namespace) for name, namespace in (("stranger", "fieldgate"), ("outsider", OUTSIDE))}
        for module in ("modbus-reader", "iothub-module"):
            found[module] = system.module_pod(module)
        found["broker"] = pods.the_pod(node, pods.module_selector("broker"))
        for part in ("sentry", "operator"):
            found[part] = pods.the_pod(node, f"app=dapr-{part}", pods.DAPR)
        yield {**found, "host": node.address}
    finally:
        node.delete("pod", "stranger", "fieldgate")
        node.delete("pod", "outsider", OUTSIDE)


def wait_running(node, name, namespace):
    node.wait_ready("pod", name, namespace)
    return node.get("pod", name, namespace)


def connects(node, source, address, port):
    """Whether a program in the network of the pod gets a connection."""
    prefix = node.exec_in_pod_network(pods.name(source), source["metadata"]["namespace"])
    return subprocess.run([*prefix, sys.executable, "-c", CONNECT, address, str(port)], capture_output=True, timeout=30).returncode == 0


@pytest.fixture(scope="module")
def enforced(system, peers):
    """Whether this network keeps what NetworkPolicies say, found out with two pods and a policy of the test's own."""
    node = system.node
    node.apply(json.dumps(pods.restricted_pod("canary", PAUSE, {"fieldgate.io/test": "canary"})), OUTSIDE)
    canary = wait_running(node, "canary", OUTSIDE)
    policy = {"podSelector": {"matchLabels": {"fieldgate.io/test": "canary"}}, "policyTypes": ["Ingress"]}
    closed = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "canary"}, "spec": policy}
    server = subprocess.Popen([*node.exec_in_pod_network("canary", OUTSIDE), sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"

        def reaches():
            return connects(node, peers["outsider"], canary["status"]["podIP"], 7000)

        wait_for(reaches, "the canary to be reached without a policy", timeout=30)
        node.apply(json.dumps(closed), OUTSIDE)
        try:
            wait_for(lambda: not reaches(), "the policy to hold", timeout=30)
        except AssertionError:
            return False
        return True
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        node.delete("networkpolicy", "canary", OUTSIDE)
        node.delete("pod", "canary", OUTSIDE)


@pytest.mark.parametrize(("source", "destination", "port", "is_open"), PATHS)
def test_a_path_is_open_or_closed(system, peers, enforced, source, destination, port, is_open):
    number = system.plc.port if port == "plc" else port
    target = peers[destination]
    policies = Policies(system.node, ("fieldgate", OUTSIDE, pods.DAPR))
    assert policies.allow(peers[source], target, number) is is_open, f"policies of {source}: {policies.selecting(peers[source])}"
    if not enforced:
        warnings.warn("this cluster's network does not enforce NetworkPolicies: their logic was checked, no connection was tried", stacklevel=1)
        return
    address = target if isinstance(target, str) else target["status"]["podIP"]
    # A rule for a pod that has just begun may take a moment.
    wait_for(lambda: connects(system.node, peers[source], address, number) is is_open, f"the path to be {'open' if is_open else 'closed'}", timeout=30)


def test_every_pod_of_ours_is_selected(system):
    policies = Policies(system.node, ("fieldgate",))
    for pod in system.node.pods():
        assert policies.selecting(pod), f"{pods.name(pod)} has no NetworkPolicy"
    kinds = [item["spec"].get("policyTypes") for item in policies.policies if item["spec"].get("podSelector") in ({}, None)]
    assert ["Ingress", "Egress"] in kinds, "nothing closes the namespace as a whole"
