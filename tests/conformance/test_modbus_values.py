"""What modbus-reader publishes is what independent servers hold: pymodbus and libmodbus, over TCP and serial lines."""

import pytest

from modbus_peers.plant import FULL


def tag_names(contents):
    return [tag["name"] for tag in contents.tags]


@pytest.mark.parametrize("device", FULL)
def test_every_type_order_scaling_bit_and_text_is_read_exactly(reader, plant, device):
    # Under load a device's first cycles may time out; what counts is what is read, not when.
    data = reader.event(device, "all", lambda data: "u16-big-endian-0" in data["values"], f"values of {device}")
    wrong = {}
    for name, wanted in plant.full.good.items():
        found = data["values"].get(name, data["bad"].get(name, "absent"))
        scaled = name.startswith("scaled-") or name == "only-offset"
        # 1 is no True and 1.0 no integer.
        if scaled and isinstance(found, float):
            right = found == pytest.approx(wanted, rel=1e-12)
        elif isinstance(wanted, float):
            right = isinstance(found, (int, float)) and not isinstance(found, bool) and found == wanted
        else:
            right = type(found) is type(wanted) and found == wanted
        if not right:
            wrong[name] = (wanted, found)
    assert not wrong, f"{device}: tag: (held, published) {wrong}"
    assert data["bad"] == plant.full.bad
    assert set(data["values"]) | set(data["bad"]) == set(tag_names(plant.full)), "no tag is silently absent"


def test_a_change_in_the_device_is_in_the_next_event(reader, plant):
    mark = reader.broker.mark()
    for value in (17, 18):
        plant.peers["shared"].set(1, "holding-register", 0, [value])
        reader.event("steady", "fast", lambda data: data["values"].get("level") == value, f"level {value}", mark)
    plant.peers["shared"].set(1, "holding-register", 0, [4711])


def test_events_carry_the_attributes_of_the_contract(reader):
    event = reader.broker.wait_for("telemetry", lambda event: event.data["device"] == "steady", "an event of steady")
    data = event.data
    assert event["specversion"] == "1.0"
    assert event["type"] == "com.fieldgate.measurements.v1"
    assert event["source"] == "/fieldgate/test/modbus-reader"
    assert event["subject"] == "steady/fast"
    assert event["partitionkey"] == "steady"
    assert event["sequence"] == f"{data['sequence']:020}"
    assert event["id"] == f"modbus-reader/steady/fast/{data['epoch']}/{data['sequence']}"
    assert event["time"] == data["timestamp"] and event["time"].endswith("Z")
    assert isinstance(data["sequence"], int) and data["sequence"] >= 1


def test_addresses_that_a_device_refuses_leave_its_other_tags_good(reader, plant):
    data = reader.event("holes", "holes", lambda data: data["values"])
    assert data["values"] == plant.holes.good
    assert data["bad"] == plant.holes.bad


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1, "illegal-function"), (3, "illegal-data-value"), (4, "device-failure"), (6, "device-busy"), (10, "gateway-path-unavailable"), (11, "gateway-target-failed")],
)
def test_an_exception_is_the_reason_of_a_bad_value(reader, plant, code, reason):
    power = plant.peers["power"]
    mark = reader.broker.mark()
    power.exceptions[1] = code
    try:
        reader.event("power", "fast", lambda data: data["bad"] == {"level": reason}, f"the reason {reason}", mark)
    finally:
        power.exceptions.clear()
    mark = reader.broker.mark()
    reader.event("power", "fast", lambda data: data["values"] == {"level": 4711}, "good values again", mark)
