"""Only who is named in the access rules can write to the field: mutual TLS tells who calls, access control says who may."""

import json
import shutil
import socket
import ssl
import subprocess
import sys

import pytest

from fieldgate_testing.cluster import pods
from fieldgate_testing.main_job import COIL, reported
from fieldgate_testing.waiting import wait_for

PAUSE = "fieldgate.io/pause:1"
SIDECAR_PORT = 50002
ELSEWHERE = "fieldgate-elsewhere"
# A stranger among the modules, and somebody of the right name in another namespace.
INTRUDERS = {"stranger": ("intruder", "fieldgate"), "namesake": ("iothub-module", ELSEWHERE)}


def dapr(kind, name, namespace, **spec):
    return {"apiVersion": "dapr.io/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def application(app_id, namespace):
    """A pod of a sidecar and nothing else, in our trust domain and with every way through the network open to it."""
    annotations = {
        "dapr.io/enabled": "true",
        "dapr.io/app-id": app_id,
        "dapr.io/config": "intruder",
        "dapr.io/enable-native-sidecar": "true",
        "dapr.io/sidecar-seccomp-profile-type": "RuntimeDefault",
        "dapr.io/sidecar-listen-addresses": "127.0.0.1",
        "dapr.io/disable-builtin-k8s-secret-store": "true",
    }
    labels = {"fieldgate.io/sidecar": "required", "fieldgate.io/test": "intruder"}
    pod = pods.restricted_pod("intruder", PAUSE, labels, annotations)
    pod["metadata"]["namespace"] = namespace
    configuration = dapr("Configuration", "intruder", namespace, accessControl={"defaultAction": "allow", "trustDomain": "fieldgate"})
    return [configuration, *ways(namespace), pod]


def ways(namespace):
    """NetworkPolicies that let the intruder out and to the reader: here the access rules are on trial, not the network."""

    def policy(name, where, **spec):
        metadata = {"name": name, "namespace": where}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}

    everybody = {"namespaceSelector": {}, "podSelector": {}}
    out = policy("intruder", namespace, podSelector={"matchLabels": {"fieldgate.io/test": "intruder"}}, policyTypes=["Egress"], egress=[{}])
    into = policy(
        f"from-{namespace}",
        "fieldgate",
        podSelector={"matchLabels": {"fieldgate.io/module": "modbus-reader"}},
        policyTypes=["Ingress"],
        ingress=[{"from": [everybody], "ports": [{"port": SIDECAR_PORT}]}],
    )
    return [out, into]


class Intruder:
    """Calls modbus-reader through its own sidecar."""

    def __init__(self, node, app_id, namespace):
        self.app_id, self.namespace = app_id, namespace
        self.prefix = node.exec_in_pod_network("intruder", namespace)
        self.target = "modbus-reader" if namespace == "fieldgate" else "modbus-reader.fieldgate"

    def call(self, method, body):
        """Status and text of the answer."""
        url = f"http://127.0.0.1:3500/v1.0/invoke/{self.target}/method/{method}"
        command = [*self.prefix, shutil.which("curl"), "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]
        command += ["--noproxy", "*", "--header", "content-type: application/json", "--data", json.dumps(body), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"curl: {done.stderr}"
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    def write(self, value):
        return self.call("write", {"device": "plc", "tag": "pump", "value": value})


@pytest.fixture(params=list(INTRUDERS), scope="module")
def intruder(request, system):
    node = system.node
    app_id, namespace = INTRUDERS[request.param]
    objects = application(app_id, namespace)
    if namespace != "fieldgate":
        labels = {"fieldgate.io/modules": "true", "pod-security.kubernetes.io/enforce": "restricted"}
        node.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}))
    for item in objects:
        node.apply(json.dumps(item))
    try:
        node.wait_ready("pod", "intruder", namespace)
        yield Intruder(node, app_id, namespace)
    finally:
        for item in reversed(objects):
            node.delete(item["kind"], item["metadata"]["name"], item["metadata"]["namespace"], wait=item["kind"] == "Pod")
        if namespace != "fieldgate":
            node.delete("namespace", namespace)


def coil(system):
    return bool(system.plc.get(1, "coil", COIL)[0])


def test_whoever_is_not_named_cannot_write(system, intruder):
    before = coil(system)
    status, text = intruder.write(not before)
    assert status == 403, f"{status}: {text}"
    assert coil(system) is before
    status, _ = intruder.call("read", {"device": "plc", "tag": "pump"})
    assert status == 403


def test_the_same_call_succeeds_once_it_is_allowed(system, intruder):
    """Against a copy of the reader's rules that names the intruder: so it is the rules that refuse, and nothing else."""
    node = system.node
    rules = node.get("configurations.dapr.io", "modbus-reader")
    open_rules = dapr("Configuration", "modbus-reader-open", "fieldgate", **rules["spec"])
    control = open_rules["spec"]["accessControl"]
    named = {"appId": intruder.app_id, "namespace": intruder.namespace, "trustDomain": "fieldgate", "defaultAction": "allow"}
    # In front, so that it counts where another policy is about the same name.
    control["policies"] = [named] + control.get("policies", [])
    node.apply(json.dumps(open_rules))
    before = coil(system)
    try:
        use_rules(system, "modbus-reader-open")
        # Its sidecar finds the reader's new address first.
        wait_for(lambda: intruder.write(not before)[0] == 200, "the permitted call", timeout=60)
        assert coil(system) is not before
    finally:
        use_rules(system, "modbus-reader")
        node.delete("configurations.dapr.io", "modbus-reader-open")
    wait_for(lambda: intruder.write(before)[0] == 403, "the refusal under the old rules", timeout=60)
    assert coil(system) is not before


def use_rules(system, name):
    """Rolls the reader to a sidecar with other rules."""
    change = {"spec": {"template": {"metadata": {"annotations": {"dapr.io/config": name}}}}}
    system.node.kubectl("patch", "deployment", "modbus-reader", "-n", "fieldgate", "--type=merge", "-p", json.dumps(change))
    system.node.wait_ready("deployment", "modbus-reader")
    system.module_pod("modbus-reader")
    system.fresh()


def test_the_hub_module_may_and_does(system):
    """The other side of the refusals: the one who is named gets through."""
    before = coil(system)
    answer = system.hub.call("main-job", "modbus-reader.write", {"device": "plc", "tag": "pump", "value": not before})
    assert answer["status"] == 200 and coil(system) is not before
    wait_for(lambda: reported(system).get("ready"), "the reader's status in the twin")


def address(system):
    return system.module_pod("modbus-reader")["status"]["podIP"]


def test_a_caller_without_a_certificate_does_not_get_as_far_as_the_rules(system):
    """A server of HTTP/2 speaks first once the handshake is done; in TLS 1.3 a client learns only then that it was refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    received = b""
    with socket.create_connection((address(system), SIDECAR_PORT), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="modbus-reader") as secure:
                secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                received = secure.recv(1000)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as refusal:
            told = str(refusal)
            assert "timed out" not in told, told
    assert not received, f"the sidecar spoke to a caller without a certificate: {received!r}"


@pytest.mark.parametrize("port", [3500, 50001, 6000], ids=["sidecar-http", "sidecar-grpc", "application"])
def test_what_is_for_the_pod_alone_listens_on_loopback_alone(system, port):
    """The application's port and the sidecar's API ask for no identity."""
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex((address(system), port)) != 0
    prefix = system.node.exec_in_pod_network(pods.name(system.module_pod("modbus-reader")))
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    subprocess.run([*prefix, sys.executable, "-c", code], check=True, timeout=20)
