"""The device agent from the cloud to its host: a direct method and a desired property reach `fieldgate agent`, and what became of it comes back. The
host is a machine without slots, which says so; with slots: tests/image/test_agent.py."""

import json

import pytest

from fieldgate_testing.agent_host import NAME, AgentHost
from fieldgate_testing.broker import KEPT_STREAM, Broker
from fieldgate_testing.module import Module
from fieldgate_testing.sidecar import Sidecar, call, component, jetstream
from fieldgate_testing.waiting import wait_for

DEVICE = "device-agent"
SHA256 = "ab" * 32
COMMANDS = ("health", "reset", "restart", "update", "update-status")


class AgentSystem:
    """Broker, emulator, iothub-module and the agent; the host starts when a test says so."""

    def __init__(self, folder, hub):
        self.hub = hub
        self.folder = folder
        self.parts = []
        try:
            self._start(folder, hub)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder, hub):
        self.host = AgentHost(folder)
        self.parts.append(self.host.stop)
        self.broker = Broker(folder)
        self.parts.append(self.broker.stop)
        secret = {"iothub": {"connection-string": hub.create(DEVICE)["connectionString"]}}
        (folder / "secrets.json").write_text(json.dumps(secret))
        secrets = component("secrets", "secretstores.local.file", {"secretsFile": str(folder / "secrets.json"), "multiValued": "true"})
        status = jetstream("pubsub-status", self.broker, durableName="iothub-module-status")
        hub_sidecar = Sidecar(folder / "iothub-module", "iothub-module", self.broker, [secrets, status], names=folder)
        self.parts.append(hub_sidecar.stop)
        document = {
            "hub": {
                "connection_string": {"store": "secrets", "name": "iothub", "key": "connection-string"},
                "host": "localhost",
                "port": hub.mqtt_port,
                "ca_file": hub.ca_file,
            },
            "queue": {"path": str(folder / "queue.db"), "max_bytes": "64MiB"},
            "subscriptions": [{"pubsub": "pubsub-status", "topic": "status"}],
            "commands": {"allow": [{"method": f"device-agent.{command}", "deadline": "60s"} for command in COMMANDS]},
            "twin": {"report_interval": "1s"},
        }
        self.hub_module = Module(folder, "iothub-module", json.dumps(document), hub_sidecar)
        self.parts.append(self.hub_module.stop)
        config = jetstream("device-agent-config", self.broker, streamName=KEPT_STREAM, durableName="device-agent-config", ackWait="5s")
        self.sidecar = Sidecar(folder / "device-agent", "device-agent", self.broker, [config], names=folder)
        self.parts.append(self.sidecar.stop)
        self.agent = Module(folder, "device-agent", json.dumps({"socket": str(self.host.path)}), self.sidecar)
        self.parts.append(self.agent.stop)
        self.hub_module.process.wait_until(self.hub_module.is_ready, "iothub-module to be ready")
        self.agent.process.wait_until(lambda: self.agent.ops("/healthz")[0] == 200, "the agent to be alive")

    def call(self, command, payload=None):
        return self.hub.call(DEVICE, f"device-agent.{command}", payload or {}, seconds=60)

    def details(self):
        return self.hub.twin(DEVICE)["reported"].get("modules", {}).get("device-agent", {}).get("details") or {}

    def reported(self, where, what, timeout=180):
        """What an agent that was stopped had not acknowledged comes again after the broker's wait for it, which may be a minute."""
        try:
            return wait_for(lambda: next((found for found in [self.details()] if found and where(found)), None), what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nreported: {json.dumps(self.details(), indent=1)}\n{self.explain()}") from None

    def explain(self):
        logs = {"device-agent": self.agent.log_tail(), "its daprd": self.sidecar.process.log_tail(), "host": self.host.log()}
        return "\n".join(f"--- {name}:\n{text[-2500:]}" for name, text in logs.items())

    def stop(self):
        return [stop() for stop in reversed(self.parts)]


@pytest.fixture(scope="module")
def system(tmp_path_factory, hub):
    system = AgentSystem(tmp_path_factory.mktemp("agent"), hub)
    yield system
    system.stop()


@pytest.fixture
def host(system):
    if system.host.listener is None:
        system.host.start()
    system.agent.process.wait_until(system.agent.is_ready, "the agent to find its host")
    return system.host


def bundle(version, uri="http://127.0.0.1:1/x.raucb?key=hidden"):
    return {"uri": uri, "sha256": SHA256, "version": version}


def test_without_a_host_the_module_is_not_ready_and_its_commands_say_why(system):
    wait_for(lambda: "host" in system.agent.ops("/readyz")[1]["reasons"], "the agent to miss its host")
    _, answer = system.agent.ops("/readyz")
    assert str(system.host.path) in answer["reasons"]["host"], answer
    for command in ("health", "update-status", "restart"):
        answer = system.call(command)
        assert answer["status"] == 503 and answer["payload"]["error"]["code"] == "no-host", f"{answer}\n{system.explain()}"


def test_a_desired_property_that_finds_no_host_is_kept_and_carried_out_when_there_is_one(system):
    system.hub.desire(DEVICE, {"update": bundle("0.2.0")})
    wait_for(lambda: system.agent.metric("fieldgate_device_agent_config_events_total") > 0, "the change to reach the agent")
    system.agent.stop()
    system.agent.process.start()
    system.host.start()
    details = system.reported(lambda found: found.get("desired", {}).get("state") == "given-up", "the update to be tried and to fail")
    assert details["name"] == NAME and details["system"]["version"] == "0.1.0"
    request = details["request"]
    assert request["state"] == "failed" and request["origin"] == "desired" and request["version"] == "0.2.0"
    assert "rauc" in request["reason"] and "rauc" in details["desired"]["reason"]
    assert "hidden" not in json.dumps(details)


def test_what_failed_is_not_tried_again_by_itself(system, host):
    before = system.call("update-status")["payload"]["request"]
    system.agent.stop()
    system.agent.process.start()
    system.agent.process.wait_until(system.agent.is_ready, "the agent to be ready again")
    # The same once more, and a whole section after a new connection.
    system.hub.desire(DEVICE, {"update": bundle("0.2.0"), "something": "else"})
    wait_for(lambda: system.agent.metric("fieldgate_device_agent_config_events_total") > 0, "the change to reach the agent")
    system.reported(lambda found: found.get("desired", {}).get("state") == "given-up", "the agent to know it")
    assert system.call("update-status")["payload"]["request"] == before
    assert system.agent.metric("fieldgate_device_agent_updates_total") == 0


def test_a_desired_property_that_cannot_be_installed_says_why(system, host):
    system.hub.desire(DEVICE, {"update": {"sha256": "no hash"}})
    details = system.reported(lambda found: found.get("desired", {}).get("state") == "invalid", "the mistake to be told")
    assert "sha256" in details["desired"]["reason"]
    system.hub.desire(DEVICE, {"update": None})
    system.reported(lambda found: found.get("desired", {}).get("state") == "none", "the property to be gone")


def test_the_version_that_runs_is_not_installed(system, host):
    system.hub.desire(DEVICE, {"update": bundle("0.1.0")})
    system.reported(lambda found: found.get("desired", {}).get("state") == "current", "the agent to find it there")


def test_a_direct_method_begins_an_update_and_its_end_is_reported(system, host):
    answer = system.call("update", bundle("0.3.0"))
    assert answer["status"] == 200 and answer["payload"]["attempt"] == 1, f"{answer}\n{system.explain()}"
    details = system.reported(lambda found: found["request"]["version"] == "0.3.0" and found["request"]["state"] == "failed", "the end of the update")
    assert details["request"]["origin"] == "method" and "rauc" in details["request"]["reason"]


@pytest.mark.parametrize(
    ("command", "payload", "status", "code", "field"),
    [
        ("update", {**bundle("0.3.0"), "sha256": "short"}, 400, "invalid-input", "sha256"),
        ("update", bundle("0.3.0", "file:///etc/passwd"), 400, "invalid-input", "uri"),
        ("update", {"uri": "http://h/x"}, 400, "invalid-input", None),
        ("reset", {"name": "gate-8"}, 422, "wrong-name", "name"),
        ("reset", {"name": NAME, "preserve": ["everything"]}, 400, "invalid-input", "preserve[0]"),
        ("reset", {}, 400, "invalid-input", None),
    ],
)
def test_what_the_caller_can_mend_is_refused_with_the_field(system, host, command, payload, status, code, field):
    answer = system.call(command, payload)
    error = answer["payload"]["error"]
    assert (answer["status"], error["code"], error.get("field")) == (status, code, field), answer
    assert not (system.host.root / "data/fieldgate-reset.json").exists()


def test_health_is_what_the_host_finds(system, host):
    answer = system.call("health")
    assert answer["status"] == 200, f"{answer}\n{system.explain()}"
    assert answer["payload"]["healthy"] is False and answer["payload"]["checks"][0]["reason"]


def test_commands_are_listed_with_their_schemas(system):
    status, answer = call("GET", f"http://127.0.0.1:{system.sidecar.http_port}/v1.0/invoke/device-agent/method/commands")
    assert status == 200, answer
    commands = {command["name"]: command for command in answer["commands"]}
    assert set(commands) == set(COMMANDS)
    assert {"uri", "sha256", "version", "allow_downgrade"} == set(commands["update"]["input"]["properties"])
