"""Writing and reading on command: seen in the peer's own data store, and in the next event."""

import struct
import threading

import pytest

from fieldgate_testing.module import Module
from fieldgate_testing.sidecar import Sidecar
from fieldgate_testing.waiting import wait_for
from modbus_peers import contents
from modbus_peers.contents import WRITABLE, permute, registers
from modbus_peers.plant import FULL, document
from modbus_peers.pymodbus_server import PymodbusServer

# tag, values in engineering units, how the device holds them, function code
WRITES = [
    ("start", [True, False, True], lambda value: [value], 5),
    ("setpoint", [65535, 0, 258], lambda value: [value], 6),
    # raw = (value + 10) / 0.1
    ("temperature", [21.5, -12.3], lambda value: registers(struct.pack(">h", round((value + 10) * 10))), 6),
    ("ratio", [0.75, -1.5e-3], lambda value: registers(permute(struct.pack(">f", value), "word-swapped")), 16),
    ("counter", [2**64 - 1, 2**53 + 1], lambda value: registers(permute(struct.pack(">Q", value), "little-endian")), 16),
    ("recipe", ["Ö-17", "ABCDEFGHI"], lambda value: registers(value.encode().ljust(10, b"\0")), 16),
]


def expected(tag, value):
    """f32 holds the nearest number it can."""
    if tag == "ratio":
        return struct.unpack(">f", struct.pack(">f", value))[0]
    return pytest.approx(value, rel=1e-12) if tag == "temperature" else value


@pytest.mark.parametrize("device", FULL)
@pytest.mark.parametrize(("tag", "values", "held", "function"), WRITES, ids=[write[0] for write in WRITES])
def test_a_written_value_is_in_the_device_and_in_the_next_event(reader, plant, device, tag, values, held, function):
    point = next(point for point in WRITABLE if point["name"] == tag)
    for value in values:
        peer = plant.peers[device]
        if hasattr(peer, "writes"):
            peer.writes.clear()
        mark = reader.broker.mark()
        status, answer = reader.sidecar.invoke("write", {"device": device, "tag": tag, "value": value})
        assert status == 200, f"{answer}\n{reader.explain()}"
        assert "written" in answer and "timestamp" in answer
        wanted = held(value)
        found = plant.get(device, point["table"], point["address"], len(wanted))
        assert [int(cell) for cell in found] == [int(cell) for cell in wanted]
        if hasattr(peer, "writes"):
            assert [(unit, code) for unit, code, *_ in peer.writes] == [(1, function)]
        reader.event(device, "writable", lambda data: data["values"].get(tag) == expected(tag, value), f"{tag} {value} in an event", mark)
        status, answer = reader.sidecar.invoke("read", {"device": device, "tag": tag})
        assert status == 200, answer
        assert answer["values"] == {tag: expected(tag, value)} and answer["bad"] == {}


def test_several_tags_are_read_on_command_with_a_reason_for_the_bad_ones(reader, plant):
    status, answer = reader.sidecar.invoke("read", {"device": "holes", "tags": ["after", "running", "missing-register"]})
    assert status == 200, answer
    assert answer["values"] == {"after": 2, "running": True}
    assert answer["bad"] == {"missing-register": "illegal-data-address"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"device": "pymodbus-tcp", "tag": "setpoint", "value": 65536}, "value"),
        ({"device": "pymodbus-tcp", "tag": "setpoint", "value": -1}, "value"),
        ({"device": "pymodbus-tcp", "tag": "setpoint", "value": 1.5}, "value"),
        ({"device": "pymodbus-tcp", "tag": "setpoint", "value": "high"}, "value"),
        ({"device": "pymodbus-tcp", "tag": "temperature", "value": 4000}, "value"),
        ({"device": "pymodbus-tcp", "tag": "start", "value": 2}, "value"),
        ({"device": "pymodbus-tcp", "tag": "recipe", "value": "much too long"}, "value"),
        ({"device": "pymodbus-tcp", "tag": "u16-big-endian-0", "value": 1}, "tag"),
        ({"device": "pymodbus-tcp", "tag": "nothing", "value": 1}, "tag"),
        ({"device": "nobody", "tag": "setpoint", "value": 1}, "device"),
    ],
    ids=lambda part: str(part.get("value")) + "-to-" + part["tag"] if isinstance(part, dict) else part,
)
def test_what_the_caller_can_mend_is_refused_with_the_field_and_nothing_is_written(reader, plant, body, field):
    peer = plant.peers["pymodbus-tcp"]
    peer.writes.clear()
    status, answer = reader.sidecar.invoke("write", body)
    assert 400 <= status < 500, (status, answer)
    error = answer["error"]
    assert error["code"] and error["message"] and error["field"] == field, error
    assert peer.writes == []


def test_a_write_that_the_device_refuses_is_an_error(reader, plant):
    peer = plant.peers["pymodbus-tcp"]
    peer.exceptions[1] = 3
    try:
        status, answer = reader.sidecar.invoke("write", {"device": "pymodbus-tcp", "tag": "setpoint", "value": 1})
    finally:
        peer.exceptions.clear()
    assert status >= 400, (status, answer)
    assert "pymodbus-tcp" in answer["error"]["message"], answer


def test_commands_are_listed_with_their_schemas(reader):
    status, answer = reader.sidecar.get("commands")
    assert status == 200, answer
    commands = {command["name"]: command for command in answer["commands"]}
    assert {"read", "write"} <= commands.keys()
    assert {"device", "tag", "value"} <= commands["write"]["input"]["properties"].keys()


@pytest.fixture
def lone_device():
    device = PymodbusServer({1: contents.small().image})
    yield device
    device.close()


@pytest.fixture
def patient(lone_device, broker, tmp_path):
    """A reader that would wait a minute for that device, and reads it at its start and at midnight."""
    tags = [{**tag, "writable": True} for tag in contents.small().tags]
    configuration = {
        "name": "patient",
        "version": "1",
        "links": [{"name": "line", "tcp": {"host": "127.0.0.1", "port": lone_device.port}, "timeout": "60s"}],
        "devices": [{"name": "lone", "link": "line", "unit": 1, "retries": 0, "park_after": 1, "park_for": "60s"}],
        "groups": [{"name": "daily", "devices": ["lone"], "period": "24h", "tags": tags}],
    }
    sidecar = Sidecar(tmp_path / "dapr", "patient", broker)
    module = Module(tmp_path, "modbus-reader", document(configuration), sidecar)
    yield module
    module.stop()
    sidecar.stop()


def test_a_write_that_gets_no_answer_does_not_hold_up_the_end(patient, lone_device):
    """What was read before is still to be published within the grace period."""
    patient.process.wait_until(patient.is_ready, "modbus-reader to be ready")
    level = {"device": "lone", "tag": "level"}
    wait_for(lambda: patient.sidecar.invoke("read", level)[0] == 200, "the device to be read")
    lone_device.silent.add(1)
    caller = threading.Thread(target=patient.sidecar.invoke, args=("write", {**level, "value": 12}), daemon=True)
    caller.start()
    wait_for(lambda: lone_device.writes, "the device to have the value")
    assert patient.stop() == 0, patient.log_tail()
    assert "a request did not end in time; a value may have been written" in patient.log_tail()
    caller.join(timeout=30)
