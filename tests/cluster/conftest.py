"""One node, one appliance on it, started once for all tests. Run by scripts/test cluster, in namespaces of its own."""

import os
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1] / "conformance")]
# Before the import, so that a failed check in them shows its values.
pytest.register_assert_rewrite("fieldgate_testing.main_job", "fieldgate_testing.cluster")

from node import K3s, Node  # noqa: E402

from fieldgate_testing.cluster import images  # noqa: E402
from fieldgate_testing.cluster.hub import HubProcess  # noqa: E402
from fieldgate_testing.cluster.pod_watch import PodWatch  # noqa: E402
from fieldgate_testing.cluster.reports import Stages  # noqa: E402
from fieldgate_testing.cluster.system import ClusterSystem  # noqa: E402

# What only looks comes first; what changes the appliance for good (its serial port) comes last.
ORDER = ["cold_start", "main_job", "manifests", "memory", "security_pods", "security_secrets", "security_broker", "security_calls"]
ORDER += ["network_policies", "editing", "own_module", "sidecars", "chaos", "mtls", "serial", "three_nodes", "k3s"]


def pytest_collection_modifyitems(items):
    """By `ORDER`; a file that is not in it comes last."""
    places = {f"test_{name}": place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def stages():
    return Stages()


@pytest.fixture(scope="session")
def node(tmp_path_factory, stages):
    node = (K3s if os.environ.get("FIELDGATE_K3S") else Node)(tmp_path_factory.mktemp("node"))
    try:
        node.start()
        stages.done("node ready")
        images.load(node)
        stages.done("images loaded")
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def hub(tmp_path_factory, node):
    """The emulator where pods reach it; takes the place of the one for tests on loopback."""
    process = HubProcess(tmp_path_factory.mktemp("emulator"), node.address)
    yield process.emulator
    process.stop()


@pytest.fixture(scope="session")
def watch(tmp_path_factory, node):
    """From before the first pod to the end: no Dapr application without its sidecar, ever."""
    watch = PodWatch(node, tmp_path_factory.mktemp("watch") / "kubectl.log")
    yield watch
    try:
        watch.check()
    finally:
        watch.stop()


@pytest.fixture(scope="session")
def system(tmp_path_factory, node, hub, watch, stages):
    system = ClusterSystem(node, tmp_path_factory.mktemp("system"), hub, watch, stages)
    yield system
    system.stop()
