"""Secret values stand in Secrets and nowhere else."""

import json
import pathlib

import pytest

from fieldgate_testing.cluster import pods
from fieldgate_testing.cluster.images import archives
from fieldgate_testing.cluster.secrets import archive_contents, finds, secret_values

NAMESPACES = ("fieldgate", pods.DAPR)


@pytest.fixture(scope="module")
def values(system):
    values = secret_values(system.node)
    assert {"broker-keys/setup", "broker-modbus-reader/nkey", "broker-iothub-module/nkey", "iothub/connection-string"} <= set(values)
    return values


def check(values, where, text, must_hold):
    """`must_hold` is something public that stands there: proof that the right thing was read."""
    text = text if isinstance(text, bytes) else text.encode()
    assert must_hold.encode() in text, f"{where} does not even hold {must_hold!r}: the check has read something else"
    assert not finds(values, text), f"{where} holds the value of {finds(values, text)}"


def test_the_search_finds_what_is_there(system, values):
    """The same search in the Secrets themselves, where every value is (in Base64)."""
    listed = system.node.kubectl("get", "secrets", "-n", "fieldgate", "-o", "json").encode()
    # The key of the hub is a part of its value only, which Base64 may begin in the middle of a group.
    assert set(values) - set(finds(values, listed)) <= {"iothub/connection-string"}


def test_not_in_a_manifest(system, values):
    for path in sorted(system.appliance.folder.rglob("*")):
        if path.is_file():
            assert not finds(values, path.read_bytes()), path
    check(values, "the manifests", "".join(path.read_text() for path in system.appliance.files()), "modbus-reader")


@pytest.mark.parametrize("kind", ["configmaps", "pods", "deployments", "statefulsets", "components.dapr.io", "events"])
def test_not_in_an_object(system, values, kind):
    text = "".join(system.node.kubectl("get", kind, "-n", namespace, "-o", "json") for namespace in NAMESPACES)
    check(values, kind, text, '"fieldgate"')


def test_not_in_a_log(system, values):
    for namespace in NAMESPACES:
        for pod in system.node.pods(namespace):
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
                log = system.node.logs(pods.name(pod), container["name"], namespace)
                assert not finds(values, log.encode()), f"the log of {pods.name(pod)}/{container['name']}"
    reader = system.module_pod("modbus-reader")
    assert system.node.logs(pods.name(reader), "modbus-reader"), "the reader has logged nothing: the check has read something else"


def test_not_on_a_command_line_and_not_in_the_environment_of_a_module(system, values):
    """The broker's pod gets its keys by its environment; a module needs none."""
    for namespace in NAMESPACES:
        for pod in system.node.pods(namespace):
            for container, pids in system.node.pids(pods.name(pod), namespace).items():
                for pid in pids:
                    process = pathlib.Path(f"/proc/{pid}")
                    check(values, f"the command line of {pods.name(pod)}/{container}", (process / "cmdline").read_bytes(), "/")
                    if "fieldgate.io/module" in pod["metadata"].get("labels", {}):
                        check(values, f"the environment of {pods.name(pod)}/{container}", (process / "environ").read_bytes(), "KUBERNETES_")


def test_not_in_a_status_or_event(system, values):
    """What goes out to the hub."""
    check(values, "the twin", json.dumps(system.hub.twin("main-job")), "modbus-reader")
    with system.broker.arrival:
        raw = b"\n".join(event.raw for event in system.broker.events)
    check(values, "the events", raw, "modbus-reader")


def test_not_in_an_image(values):
    for path in archives():
        programs = 0
        for name, content in archive_contents(path):
            assert not finds(values, content), f"{path.name}: {name}"
            programs += content.count(b"\x7fELF")
        assert programs, f"{path.name} holds no program: the check has read something else"
