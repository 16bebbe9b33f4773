"""A field register reaches IoT Hub, a direct method reaches a coil, and the twin goes both ways."""

from conftest import COIL, DEVICE, REGISTER
from fieldgate_testing.emulator import ControlError
from fieldgate_testing.sidecar import call
from fieldgate_testing.waiting import wait_for


def telemetry(system, where, after=0):
    """The first message at the hub behind that index whose data fits."""

    def look():
        messages = system.hub.messages(after=after, device=DEVICE)
        return next((message for message in messages if where(message["body"]["data"])), None)

    return wait_for(look, "telemetry at the hub", timeout=20)


def last_index(system):
    messages = system.hub.messages(device=DEVICE)
    return messages[-1]["index"] if messages else 0


def test_a_register_reaches_the_hub_as_a_cloudevent_with_its_identity(system):
    message = telemetry(system, lambda data: data["values"].get("level") == 1234)
    event = message["body"]
    assert event["type"] == "com.fieldgate.measurements.v1"
    assert event["source"] == "/fieldgate/test/modbus-reader" and event["subject"] == "plc/all"
    assert event["partitionkey"] == "plc" and int(event["sequence"]) == event["data"]["sequence"]
    assert event["id"] == f"modbus-reader/plc/all/{event['data']['epoch']}/{event['data']['sequence']}"
    assert message["system"]["content-type"] == "application/json"
    assert message["properties"]["topic"] == "telemetry" and message["properties"]["subject"] == "plc/all"

    system.plc.set(1, "holding-register", REGISTER, [4321])
    telemetry(system, lambda data: data["values"].get("level") == 4321, after=message["index"])


def test_nothing_is_missing_or_doubled(system):
    telemetry(system, lambda data: data["sequence"] >= 20)
    sequences = [message["body"]["data"]["sequence"] for message in system.hub.messages(device=DEVICE)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_direct_method_writes_a_coil_and_the_next_telemetry_shows_it(system):
    for value in (True, False, True):
        before = last_index(system)
        answer = system.hub.call(DEVICE, "modbus-reader.write", {"device": "plc", "tag": "pump", "value": value})
        assert answer["status"] == 200, f"{answer}\n{system.explain()}"
        assert bool(system.plc.get(1, "coil", COIL)[0]) is value
        telemetry(system, lambda data: data["values"].get("pump") is value, after=before)


def test_an_error_of_the_module_comes_back_whole_with_its_status(system):
    answer = system.hub.call(DEVICE, "modbus-reader.write", {"device": "plc", "tag": "level", "value": 70000})
    assert 400 <= answer["status"] < 500
    error = answer["payload"]["error"]
    assert error["field"] == "value" and "65535" in error["message"]


def test_a_method_that_is_not_allowed_is_refused_and_reaches_nobody(system):
    answer = system.hub.call(DEVICE, "modbus-reader.shutdown", {})
    assert answer["status"] == 403 and answer["payload"]["error"]["code"] == "not-allowed"
    assert system.hub.call(DEVICE, "nonsense", {})["status"] == 404
    assert system.hub.call(DEVICE, "ping", {})["status"] == 200


def test_a_desired_property_arrives_as_a_config_event(system):
    mark = system.broker.mark()
    version = system.hub.desire(DEVICE, {"modules": {"modbus-reader": {"reference": "v7"}}})["desired"]["$version"]
    event = system.broker.wait_for("config", lambda event: event.data["version"] == version, "the config event", mark, explain=system.explain)
    assert event["type"] == "com.fieldgate.config.v1"
    assert event.data["desired"]["modules"]["modbus-reader"] == {"reference": "v7"}


def test_the_status_of_a_module_is_a_reported_property(system):
    def reported():
        return system.hub.twin(DEVICE)["reported"].get("modules", {}).get("modbus-reader", {})

    status = wait_for(lambda: reported().get("ready") and reported(), "the reader's status in the twin")
    assert status["configuration"]["state"] == "in-force" and status["configuration"]["version"] == "1"
    wait_for(lambda: "iothub-module" in system.hub.twin(DEVICE)["reported"]["modules"], "the hub module's own status in the twin")

    document = system.reader.configuration.read_text()
    system.reader.configure(document.replace("line", "lime", 1))
    try:
        rejected = wait_for(lambda: reported()["configuration"]["state"] == "rejected" and reported(), "the refused configuration in the twin")
        assert any("lime" in error or "line" in error for error in rejected["configuration"]["errors"]), rejected
    finally:
        system.reader.configure(document)
    wait_for(lambda: reported()["configuration"]["state"] == "in-force", "the good configuration in the twin")


def test_a_message_from_the_cloud_arrives_as_a_command_event_and_is_completed(system):
    mark = system.broker.mark()
    system.hub.send(DEVICE, "c-1", {"recipe": 17}, {"line": "4"})
    event = system.broker.wait_for("commands", lambda event: event.data["message_id"] == "c-1", "the command event", mark, explain=system.explain)
    assert event.data["body"] == {"recipe": 17} and event.data["properties"] == {"line": "4"}
    wait_for(lambda: not system.hub.pending(DEVICE), "the message to be completed")


def test_a_poison_event_ends_as_a_dead_letter_with_its_reason(system):
    mark = system.broker.mark()
    url = f"http://127.0.0.1:{system.reader_sidecar.http_port}/v1.0/publish/pubsub/telemetry?metadata.rawPayload=true"
    status, answer = call("POST", url, {"no": "CloudEvent"})
    assert status in (200, 204), answer
    event = system.broker.wait_for("deadletter", lambda event: True, "the dead letter", mark, explain=system.explain)
    assert event["type"] == "com.fieldgate.deadletter.v1" and event.data["reason"]


def test_a_method_call_to_a_device_that_is_not_there_says_so(system):
    system.hub.create("absent")
    try:
        system.hub.call("absent", "ping", {})
        raise AssertionError("answered")
    except ControlError as error:
        assert error.status == 404 and "404103" in error.body
