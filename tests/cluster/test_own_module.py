"""A module of somebody's own, by the steps of docs/extend/kubernetes.md: from its sources to an alarm, and off again."""

import json
import shlex
import shutil
import subprocess

import pytest
import yaml
from test_security_calls import Intruder, application

from fieldgate_testing.broker import STREAM
from fieldgate_testing.cluster import pods
from fieldgate_testing.emulator import ControlError
from fieldgate_testing.main_job import DEVICE, REGISTER
from fieldgate_testing.process import ROOT, program
from fieldgate_testing.waiting import wait_for

MODULE = "press-watch"
EXAMPLE = ROOT / "docs/extend/examples/press-watch"
# The description of the documentation, whose entry for the module is used here with another tag.
DESCRIPTION = ROOT / "docs/start/examples/appliance/appliance.yaml"
TAG, LIMIT, NEW_LIMIT = "level", 5000, 7000
METHOD = f"{MODULE}.limit"
LABEL = f"fieldgate.io/module={MODULE}"
HUB_CALLS = ["modbus-reader.read", "modbus-reader.write"]
KINDS = "deployment,replicaset,pod,service,configmap,networkpolicy,serviceaccount,persistentvolumeclaim,persistentvolume"
KINDS += ",components.dapr.io,configurations.dapr.io,subscriptions.dapr.io,resiliencies.dapr.io"


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


class OwnModule:
    """The module on the appliance; comes in with `bring_in`, goes with `take_off`."""

    def __init__(self, system, folder):
        self.system, self.node, self.folder = system, system.node, folder
        self.description = system.appliance.folder / "appliance.yaml"
        self.level = system.plc.get(1, "holding-register", REGISTER)[0]
        self.hub_document = system.appliance.read_document("iothub-module")
        self.generation = self.broker()["metadata"]["generation"]
        self.before = {part: pods.uid(self.pod(part)) for part in ("broker", "modbus-reader", "iothub-module")}
        self.epoch = system.reader_epoch()

    def pod(self, name):
        return pods.the_pod(self.node, pods.module_selector(name))

    def broker(self):
        return self.node.get("statefulset", "broker")

    # ---- in

    def bring_in(self):
        self.load_image()
        self.describe()
        # The broker does not start with a user whose key is missing: keys first.
        run(program("fieldgate"), "secrets", "--appliance", self.description, "--kubectl", self.node.kubectl_program)
        self.node.make_volume(f"{MODULE}-state")
        self.told = self.system.appliance.generate().stdout
        self.system.apply_all()
        self.wait_ready()

    def load_image(self):
        builder = [program("image-builder"), "build", "--root", ROOT, "--description", EXAMPLE / "images.yaml", "--output", self.folder]
        run(*builder)
        (archive,) = self.folder.glob("*/*.tar.zst")
        self.node.load_image(archive)

    def describe(self):
        run(program("fieldgate"), "manifests", "new-module", MODULE, "--appliance", self.description)
        written = yaml.safe_load(self.description.read_text())
        assert set(written["modules"]) == set(self.system.appliance.description["modules"]) | {MODULE}
        entry = yaml.safe_load(DESCRIPTION.read_text())["modules"][MODULE]
        entry["env"] = {"WATCH_TAG": TAG, "WATCH_LIMIT": str(LIMIT)}
        modules = self.system.appliance.description["modules"]
        modules[MODULE] = entry
        modules["iothub-module"]["calls"] = [*HUB_CALLS, METHOD]
        self.system.appliance.describe()

    def wait_ready(self):
        self.node.wait_ready("statefulset", "broker")
        self.node.wait_ready("deployment", MODULE)

    def allow(self):
        """The cloud's right, in the user's own file of iothub-module."""
        document = yaml.safe_load(self.hub_document)
        document["commands"]["allow"].append({"method": METHOD, "deadline": "10s"})
        self.write_hub_document(yaml.safe_dump(document, sort_keys=False))

    def write_hub_document(self, text):
        self.system.appliance.write_document("iothub-module", text)
        self.system.apply_configuration("iothub-module")

    # ---- at work

    def set_level(self, value):
        self.system.plc.set(1, "holding-register", REGISTER, [value])

    def alarm(self, value, mark, timeout=60):
        """The alarm about a value of the tag."""
        return self.system.broker.wait_for(
            "alarms", lambda event: event.data["value"] == value, f"the alarm about {value}", mark, timeout, explain=self.system.explain
        )

    def spike(self, value):
        """Up and down again, each as soon as the broker has seen the one before."""

        def shows(event):
            return event.get("data", {}).get("values", {}).get(TAG) == level

        for level in (value, self.level):
            mark = self.system.broker.mark()
            self.set_level(level)
            self.system.broker.wait_for("telemetry", shows, f"{TAG} {level}", mark, timeout=60, explain=self.system.explain)

    def call(self, body):
        return self.system.hub.call(DEVICE, METHOD, body)

    def inside(self, *arguments):
        """curl in the network of its pod, as the program itself would ask: status and text."""
        prefix = self.node.exec_in_pod_network(pods.name(self.pod(MODULE)))
        command = [*prefix, shutil.which("curl"), "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--write-out", "\n%{http_code}"]
        text, _, status = run(*command, *arguments).rpartition("\n")
        return int(status), text

    # ---- off

    def take_off(self):
        """By the documentation; what `fieldgate manifests` says has to be run is run as it is printed."""
        modules = self.system.appliance.description["modules"]
        modules.pop(MODULE, None)
        modules["iothub-module"].pop("calls", None)
        self.system.appliance.describe()
        self.write_hub_document(self.hub_document)
        told = self.system.appliance.generate().stdout
        self.system.apply_all()
        lines = [line[line.index("kubectl ") :] for line in told.splitlines() if "kubectl -n fieldgate delete" in line]
        for line in lines:
            self.node.kubectl(*shlex.split(line)[1:])
        self.node.wait_ready("statefulset", "broker")
        plan = "/etc/fieldgate/broker/plan.yaml"
        consumer = f"{STREAM}/{MODULE}-telemetry"
        self.node.kubectl("-n", "fieldgate", "exec", "broker-0", "-c", "setup", "--", "/broker-setup", plan, "--remove-consumer", consumer)
        self.node.kubectl("delete", "pv", "-l", LABEL)
        self.node.kubectl("-n", "fieldgate", "delete", "secret", f"broker-{MODULE}")
        forget = json.dumps([{"op": "remove", "path": f"/data/{MODULE}"}])
        self.node.kubectl("-n", "fieldgate", "patch", "secret", "broker-keys", "--type=json", "-p", forget)
        shutil.rmtree(self.node.volumes / f"{MODULE}-state")
        return lines


@pytest.fixture(scope="module")
def own(system, tmp_path_factory):
    own = OwnModule(system, tmp_path_factory.mktemp("own-module"))
    try:
        own.bring_in()
        yield own
    finally:
        own.set_level(own.level)
        if MODULE in system.appliance.description["modules"]:
            own.take_off()


def test_it_comes_in_and_only_what_learns_of_it_is_rolled_once(system, own):
    assert f"create   {MODULE}.yaml" in own.told and "update   fieldgate-broker.yaml" in own.told, own.told
    assert own.broker()["metadata"]["generation"] == own.generation + 1
    now = {part: pods.uid(own.pod(part)) for part in own.before}
    # The broker learns of a user, iothub-module of a right to call.
    assert {part for part in now if now[part] != own.before[part]} == {"broker", "iothub-module"}
    system.fresh(lambda data: data["epoch"] == own.epoch)
    system.audit.check()
    system.watch.check()


def test_generating_and_applying_again_rolls_nothing(system, own):
    generation, pod = own.broker()["metadata"]["generation"], pods.uid(own.pod(MODULE))
    system.appliance.generate("--check")
    system.apply_all()
    own.wait_ready()
    assert own.broker()["metadata"]["generation"] == generation and pods.uid(own.pod(MODULE)) == pod


def test_its_alarm_arrives(system, own):
    mark = system.broker.mark()
    own.spike(LIMIT + 1)
    event = own.alarm(LIMIT + 1, mark)
    assert event["type"] == "com.example.limit-passed.v1" and event["source"] == f"/fieldgate/test/{MODULE}" and event["subject"] == "plc/all"
    assert event.data == {"tag": TAG, "value": LIMIT + 1, "limit": LIMIT}
    ids = [alarm["id"] for alarm in system.broker.since(mark, "alarms")]
    assert len(ids) == len(set(ids)), ids


def test_it_lists_its_command(own):
    status, text = own.inside("http://127.0.0.1:8080/commands")
    assert status == 200 and [command["name"] for command in json.loads(text)["commands"]] == ["limit"]


def test_the_cloud_may_call_it_once_it_is_allowed(system, own):
    refused = own.call({})
    assert refused["status"] == 403 and refused["payload"]["error"]["code"] == "not-allowed", refused
    own.allow()
    answer = permitted(own, "the permitted call", system.patience)
    assert answer["payload"] == {"limit": LIMIT}
    assert own.call({"limit": NEW_LIMIT}) == {"status": 200, "payload": {"limit": NEW_LIMIT}}
    wrong = own.call({"limit": "high"})
    assert wrong["status"] == 400 and wrong["payload"]["error"]["field"] == "limit", wrong


def called(own, body):
    try:
        return own.call(body)
    except ControlError:
        return None


def permitted(own, what, timeout):
    return wait_for(lambda: (answer := called(own, {})) and answer["status"] == 200 and answer, what, timeout, interval=0.5)


def test_nobody_else_may_call_it(system, own):
    """A module in the same namespace with every way through the network open to it."""
    objects = json.loads(json.dumps(application("intruder", "fieldgate")).replace("modbus-reader", MODULE))
    for item in objects:
        system.node.apply(json.dumps(item))
    try:
        system.node.wait_ready("pod", "intruder")
        intruder = Intruder(system.node, "intruder", "fieldgate")
        intruder.target = MODULE
        status, text = intruder.call("limit", {"limit": 1})
        assert status == 403, f"{status}: {text}"
    finally:
        for item in reversed(objects):
            system.node.delete(item["kind"], item["metadata"]["name"], "fieldgate", wait=item["kind"] == "Pod")
    assert own.call({})["payload"] == {"limit": NEW_LIMIT}


def test_past_its_sidecar_nobody_gets_at_what_it_takes(own):
    """The port of the probes is open to the node, what is behind it is not."""
    address = own.pod(MODULE)["status"]["podIP"]
    for path in ("limit", "events"):
        status, _ = own.inside("--data", json.dumps({"limit": 1}), f"http://{address}:8080/{path}")
        assert status == 403, path
    assert own.call({})["payload"] == {"limit": NEW_LIMIT}


def test_its_sidecar_does_what_the_description_names_and_no_more(own):
    event = {"specversion": "1.0", "id": "x", "source": "x", "type": "x", "data": {}}
    publish = f"http://127.0.0.1:3500/v1.0/publish/{MODULE}-pubsub/status?metadata.rawPayload=true"
    status, text = own.inside("--header", "content-type: application/cloudevents+json", "--data", json.dumps(event), publish)
    assert status == 403 and "ERR_PUBSUB_FORBIDDEN" in text, f"{status}: {text}"
    status, text = own.inside("--data", "{}", "http://127.0.0.1:3500/v1.0/invoke/modbus-reader/method/read")
    assert status == 404, f"{status}: {text}"


def test_an_event_that_it_cannot_read_goes_to_the_dead_letters(system, own):
    mark = system.broker.mark()
    system.publish_raw("telemetry", {"poison": MODULE})
    system.broker.wait_for("deadletter", lambda event: event.get("poison") == MODULE, "the dead letter", mark, explain=system.explain)
    own.spike(NEW_LIMIT + 1)
    own.alarm(NEW_LIMIT + 1, mark)


def test_a_pod_that_is_deleted_misses_nothing_and_keeps_its_limit(system, own):
    mark = system.broker.mark()
    old = [own.pod(MODULE)]
    pods.delete(system.node, old[0])
    own.spike(NEW_LIMIT + 2)
    own.alarm(NEW_LIMIT + 2, mark, timeout=120)
    pods.successor(system.node, pods.module_selector(MODULE), old)
    # The caller's sidecar may dial the old pod once more.
    assert permitted(own, "its command", timeout=60)["payload"] == {"limit": NEW_LIMIT}
    system.audit.check()


def test_a_new_version_takes_over(system, own):
    """The new pod is ready while it waits for the lock, and works once the old one has ended."""
    mark = system.broker.mark()
    system.node.kubectl("-n", "fieldgate", "rollout", "restart", f"deployment/{MODULE}")
    own.spike(NEW_LIMIT + 3)
    system.node.wait_ready("deployment", MODULE)
    own.alarm(NEW_LIMIT + 3, mark)
    mark = system.broker.mark()
    own.spike(NEW_LIMIT + 4)
    own.alarm(NEW_LIMIT + 4, mark)


def test_it_goes_and_leaves_nothing(system, own):
    lines = own.take_off()
    assert len(lines) == 2, "`fieldgate manifests` did not say what stays"
    node = system.node
    wait_for(lambda: not node.kubectl("get", KINDS, "-A", "-l", LABEL, "-o", "name").strip(), "its objects to be gone", timeout=90, interval=0.5)
    assert not [path.name for path in system.appliance.manifests.iterdir() if path.name.startswith(MODULE)]
    secrets = {item["metadata"]["name"]: item.get("data", {}) for item in node.get("secrets")["items"]}
    assert f"broker-{MODULE}" not in secrets and MODULE not in secrets["broker-keys"]
    consumers = system.broker.loop.run(system.broker.streams.consumers_info(STREAM))
    assert not [consumer.name for consumer in consumers if consumer.name.startswith(MODULE)]
    wait_for(lambda: (called(own, {}) or {}).get("status") == 403, "the cloud's call to be refused", system.patience, interval=0.5)
    system.appliance.generate("--check")
    system.fresh(lambda data: data["epoch"] == own.epoch)
    system.audit.check()
