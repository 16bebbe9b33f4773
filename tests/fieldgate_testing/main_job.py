"""The main job as checks: a field register reaches IoT Hub, a direct method reaches a coil, and the twin goes both ways.

tests/selfhosted and tests/cluster take in every function of this file, each with a fixture `system` of its own. What such a system has:

    hub                             the emulator (fieldgate_testing.emulator)
    plc                             the pymodbus server with `IMAGE` as unit 1
    broker                          mark, since, wait_for (fieldgate_testing.broker)
    publish_raw(topic, body)        publishes what need not be an event, with the rights of modbus-reader
    read_configuration()            the document of modbus-reader, as text
    write_configuration(document)   changes it in the way its user would
    patience                        how long a change of the configuration may take, in seconds
    explain()                       what the parts said last, for the message of a failed check
"""

from collections import defaultdict

from .emulator import ControlError
from .waiting import wait_for

# The identity at the hub, and the gateway's name in every event.
DEVICE, APPLIANCE = "main-job", "test"
COIL, REGISTER = 7, 40
IMAGE = {"coil": {COIL: False}, "discrete-input": {0: False}, "holding-register": {REGISTER: 1234}, "input-register": {0: 0}}
SUBJECT = "plc/all"


def reader_document(host, port):
    """The configuration of modbus-reader that these checks are about."""
    tags = [
        {"name": "pump", "table": "coil", "address": COIL, "writable": True},
        {"name": "level", "table": "holding-register", "address": REGISTER, "type": "u16", "writable": True},
    ]
    return {
        "name": "main job",
        "version": "1",
        "links": [{"name": "line", "tcp": {"host": host, "port": port}}],
        "devices": [{"name": "plc", "link": "line", "unit": 1}],
        "groups": [{"name": "all", "devices": ["plc"], "period": "100ms", "tags": tags}],
    }


def allowed_commands():
    """The key `commands` of the configuration of iothub-module."""
    return {"allow": [{"method": f"modbus-reader.{method}", "deadline": "5s"} for method in ("write", "read")]}


def messages(system, after=0):
    """The measurements of the PLC that arrived at the hub behind that index, in the order of their arrival."""
    return [message for message in system.hub.messages(after=after, device=DEVICE) if message["body"].get("subject") == SUBJECT]


def telemetry(system, where, after=0, timeout=20):
    """The first of them whose data fits."""

    def look():
        return next((message for message in messages(system, after) if where(message["body"]["data"])), None)

    try:
        return wait_for(look, "telemetry at the hub", timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{system.explain()}") from None


def last_index(system):
    """The hub's number of the last message, to wait for what comes behind it."""
    arrived = system.hub.messages(device=DEVICE)
    return arrived[-1]["index"] if arrived else 0


def test_a_register_reaches_the_hub_as_a_cloudevent_with_its_identity(system):
    message = telemetry(system, lambda data: data["values"].get("level") == 1234)
    event = message["body"]
    assert event["type"] == "com.fieldgate.measurements.v1"
    assert event["source"] == f"/fieldgate/{APPLIANCE}/modbus-reader" and event["subject"] == SUBJECT
    assert event["partitionkey"] == "plc" and int(event["sequence"]) == event["data"]["sequence"]
    assert event["id"] == f"modbus-reader/plc/all/{event['data']['epoch']}/{event['data']['sequence']}"
    assert message["system"]["content-type"] == "application/json"
    assert message["properties"]["topic"] == "telemetry" and message["properties"]["subject"] == SUBJECT

    system.plc.set(1, "holding-register", REGISTER, [4321])
    telemetry(system, lambda data: data["values"].get("level") == 4321, after=message["index"])


def test_nothing_is_missing_or_doubled(system):
    telemetry(system, lambda data: data["sequence"] >= 20)
    epochs = defaultdict(list)
    for message in messages(system):
        data = message["body"]["data"]
        epochs[data["epoch"]].append(data["sequence"])
    for epoch, sequences in epochs.items():
        assert sequences == list(range(1, len(sequences) + 1)), f"epoch {epoch}"


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


def reported(system, module="modbus-reader"):
    """The status of a module among the reported properties."""
    return system.hub.twin(DEVICE)["reported"].get("modules", {}).get(module, {})


def wait_reported(system, state, what):
    """Until the twin says that modbus-reader's newest document is `in-force` or `rejected`."""

    def look():
        status = reported(system)
        return status if status.get("configuration", {}).get("state") == state else None

    try:
        return wait_for(look, f"{what} in the twin", system.patience)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{system.explain()}") from None


def test_the_status_of_a_module_is_a_reported_property(system):
    wait_for(lambda: reported(system).get("ready"), "the reader's status in the twin")
    status = wait_reported(system, "in-force", "the reader's configuration")
    assert status["configuration"]["version"] == "1"
    wait_for(lambda: reported(system, "iothub-module"), "the hub module's own status in the twin")

    document = system.read_configuration()
    system.write_configuration(document.replace("line", "lime", 1))
    try:
        rejected = wait_reported(system, "rejected", "the refused configuration")
        assert any("lime" in error or "line" in error for error in rejected["configuration"]["errors"]), rejected
    finally:
        system.write_configuration(document)
    wait_reported(system, "in-force", "the good configuration")


def test_a_message_from_the_cloud_arrives_as_a_command_event_and_is_completed(system):
    mark = system.broker.mark()
    system.hub.send(DEVICE, "c-1", {"recipe": 17}, {"line": "4"})
    event = system.broker.wait_for("commands", lambda event: event.data["message_id"] == "c-1", "the command event", mark, explain=system.explain)
    assert event.data["body"] == {"recipe": 17} and event.data["properties"] == {"line": "4"}
    wait_for(lambda: not system.hub.pending(DEVICE), "the message to be completed")


def test_a_poison_event_ends_as_a_dead_letter_with_its_reason(system):
    mark = system.broker.mark()
    system.publish_raw("telemetry", {"no": "CloudEvent"})
    event = system.broker.wait_for("deadletter", lambda event: True, "the dead letter", mark, explain=system.explain)
    assert event["type"] == "com.fieldgate.deadletter.v1" and event.data["reason"]


def test_a_method_call_to_a_device_that_is_not_there_says_so(system):
    system.hub.create("absent")
    try:
        system.hub.call("absent", "ping", {})
        raise AssertionError("answered")
    except ControlError as error:
        assert error.status == 404 and "404103" in error.body
