"""From one node to three as docs/operate/three-nodes.md says, with a broker on each; one of them loses its power, and nothing is missing."""

import json
import shutil
import time

import pytest

from fieldgate_testing.broker import KEPT_STREAM, STREAM
from fieldgate_testing.cluster import images, pods, reports
from fieldgate_testing.cluster.installation import MODULES
from fieldgate_testing.main_job import DEVICE
from fieldgate_testing.waiting import wait_for

OURS = "app.kubernetes.io/part-of=fieldgate"
SAVE = ["/broker-setup", "--saved", "/data/saved", "--save", "/etc/fieldgate/broker/plan.yaml"]
NAMES = ["gate", "gate-2", "gate-3"]


def stream(system, name):
    return system.broker.loop.run(system.broker.streams.stream_info(name))


def replicated(system, name):
    """Whether two followers have all that the leader has, also of how far each module has read."""
    clusters = [stream(system, name).cluster]
    if name == STREAM:
        # Some ten seconds after the stream.
        consumers = system.broker.loop.run(system.broker.streams.consumers_info(STREAM))
        clusters += [one.cluster for one in consumers]
    return all(one and one.leader and sum(bool(peer.current) for peer in one.replicas or []) == 2 for one in clusters)


def healed(system):
    """Telemetry again, and all of it. The audit reads the broker in order: with the newest event it has seen those before."""
    newest = system.fresh()["body"]["id"]

    def seen():
        system.audit.read()
        return newest in system.audit.accepted

    wait_for(seen, "the audit to have read the broker up to now", timeout=120, interval=0.5)
    figures = system.audit.check()
    assert figures["missing"] == 0 and figures["gaps"] == 0, figures
    return figures


def place(volume):
    """The node of a PersistentVolume."""
    requirements = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    return next((one["values"][0] for one in requirements if one["key"] == "kubernetes.io/hostname"), None)


class Growth:
    """The steps of the page, for any number of nodes."""

    def __init__(self, system):
        self.system = system
        self.node = system.node
        self.machines = {NAMES[0]: system.node}

    def join(self, name):
        self.machines[name] = self.node.add_agent(name)
        images.load(self.machines[name])

    def kubectl(self, *arguments):
        return self.node.kubectl("-n", "fieldgate", *arguments, timeout=180)

    def run(self, nodes):
        self._quiet()
        self.kubectl("exec", "broker-0", "-c", "setup", "--", *SAVE)
        self._take_off()
        self._describe(nodes)
        self.system.apply_all()
        self.kubectl("scale", "deployment", "--selector", OURS, "--replicas=1")
        self.system.installation.wait_ready()

    def _quiet(self):
        """Nobody publishes and nobody takes."""
        self.kubectl("scale", "deployment", "--selector", OURS, "--replicas=0")
        for module in MODULES:
            pods.wait_gone(self.node, pods.module_selector(module))

    def _take_off(self):
        """What names no node cannot be made to name one: volumes and claims are made anew, their folders stay."""
        self.kubectl("delete", "statefulset", "broker")
        pods.wait_gone(self.node, pods.module_selector("broker"))
        self.kubectl("delete", "persistentvolumeclaim", "--selector", OURS)
        self.node.kubectl("delete", "persistentvolume", "--selector", OURS, timeout=60)
        store = self.node.volumes / "data-broker-0" / "jetstream"
        store.rename(store.with_name(f"jetstream-{time.monotonic_ns()}"))

    def _describe(self, nodes):
        description = self.system.appliance.description
        description["nodes"] = nodes
        description["broker"] = {**description.get("broker", {}), "replicas": len(nodes)}
        # What the test of the serial line has added, and taken away again.
        description.pop("serial", None)
        description["modules"]["modbus-reader"].pop("serial", None)
        self.system.appliance.describe()
        self.system.appliance.generate()
        self.system.installation.secrets()
        for item in self.system.appliance.objects():
            if item["kind"] == "PersistentVolume":
                self.machines[place(item)].make_volume(item["metadata"]["name"].removeprefix("fieldgate-"))

    def machine_of(self, pod):
        return self.machines[self.node.get("pod", pod)["spec"]["nodeName"]]


@pytest.fixture(scope="module")
def three(system):
    growth = Growth(system)
    for name in NAMES[1:]:
        growth.join(name)
    system.hub.send(DEVICE, "c-before", {"recipe": 3}, {})
    system.broker.wait_for("commands", lambda event: event.data["message_id"] == "c-before", "the command event", explain=system.explain)
    growth.before = {name: stream(system, name).state for name in (STREAM, KEPT_STREAM)}
    system.stages.done("two nodes joined")
    growth.run(NAMES)
    system.stages.done("three nodes")
    return growth


def test_streams_are_on_three_nodes_with_all_they_held(system, three):
    for name, before in three.before.items():
        wait_for(lambda: replicated(system, name), f"{name} on three nodes", timeout=60)
        now = stream(system, name)
        assert now.config.num_replicas == 3
        assert now.state.last_seq >= before.last_seq and now.state.messages >= before.messages, (before, now.state)
        assert now.state.first_seq == before.first_seq
    healed(system)


def test_every_broker_and_folder_is_on_a_node_of_its_own(system, three):
    found = {pods.name(pod): pod["spec"]["nodeName"] for pod in system.node.pods(selector=pods.module_selector("broker"))}
    assert found == {f"broker-{number}": name for number, name in enumerate(NAMES)}
    volumes = {item["metadata"]["name"]: place(item) for item in system.node.get("persistentvolumes")["items"]}
    assert volumes["fieldgate-data-broker-2"] == "gate-3" and volumes["fieldgate-modbus-reader-state"] == "gate"
    assert all(system.module_pod(module)["spec"]["nodeName"] == "gate" for module in MODULES)


def lead_elsewhere(system):
    """Makes a broker on another node than the first one the leader of the events."""

    def moved():
        leader = stream(system, STREAM).cluster.leader
        if leader in ("broker-1", "broker-2"):
            return leader
        wish = json.dumps({"placement": {"preferred": "broker-2"}}).encode()
        answer = system.broker.loop.run(system.broker.client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}", wish, timeout=5))
        assert "error" not in json.loads(answer.data), answer.data
        return None

    return wait_for(moved, "another leader", timeout=60, interval=1)


def test_a_node_loses_its_power_and_nothing_is_missing(system, three, capsys):
    leader = lead_elsewhere(system)
    machine = three.machine_of(leader)
    system.fresh()
    begun = time.monotonic()
    machine.stop()
    system.fresh()
    seconds = time.monotonic() - begun
    lost = stream(system, STREAM).cluster.leader
    assert lost and lost != leader
    # Some time of it, with telemetry.
    for _ in range(20):
        system.fresh()
    healed(system)
    machine.start()
    system.node.wait_ready("statefulset", "broker", timeout=180)
    for name in (STREAM, KEPT_STREAM):
        wait_for(lambda: replicated(system, name), f"{name} to be caught up", timeout=120)
    figures = healed(system)
    path = reports.write("three-nodes", {**figures, "telemetry again after seconds": round(seconds, 1)})
    with capsys.disabled():
        print(f"\nthree nodes (kept in {path}): telemetry again {seconds:.1f} s after the leader's node was lost; {figures}")


def test_a_node_loses_its_disk_and_fetches_what_was_on_it(system, three):
    machine = three.machines["gate-2"]
    machine.stop()
    store = machine.volumes / "data-broker-1" / "jetstream"
    assert any(store.rglob("*.blk"))
    shutil.rmtree(store)
    system.fresh()
    machine.start()
    system.node.wait_ready("statefulset", "broker", timeout=180)
    for name in (STREAM, KEPT_STREAM):
        wait_for(lambda: replicated(system, name), f"{name} to be there again", timeout=120)
    healed(system)


def test_back_on_one_node_with_everything(system, three):
    kept = stream(system, KEPT_STREAM).state
    three.run(NAMES[:1])
    assert stream(system, KEPT_STREAM).config.num_replicas == 1
    assert stream(system, KEPT_STREAM).state.messages >= kept.messages
    healed(system)
