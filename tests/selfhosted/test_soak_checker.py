"""The checker of the soak finds what it is there for."""

import base64
import json
import random

import pytest
from fieldgate_testing.process import ROOT
from fieldgate_testing.soak.arrivals import Arrivals, Unreadable, events_of
from fieldgate_testing.soak.encodings import MEASUREMENTS, NO_EPOCH
from fieldgate_testing.soak.memory import Memory
from fieldgate_testing.soak.ranges import Ranges

# Connections begin here, in seconds; events are made in the second of their sequence.
FIRST, SECOND = 100, 200

VECTORS = ROOT / "crates/hub-encoding/tests/vectors"


def take(arrivals, sequences, connected=FIRST, device="gate", stream=0, module=None):
    for sequence in sequences:
        event = {
            "specversion": "1.0",
            "type": "com.fieldgate.measurements.v1",
            "id": f"load/device-{stream}/load/e1/{sequence}",
            "time": f"1970-01-01T00:{sequence // 60:02}:{sequence % 60:02}.000000Z",
            "data": {"values": {"r0": sequence}},
        }
        received = max(sequence, connected) + 1
        arrivals.take({
            "index": arrivals.messages + 1,
            "device": device,
            "module": module,
            "connected_us": connected * 1_000_000,
            "received_us": received * 1_000_000,
            "system": {},
            "body": event,
        })


def judged(*connections):
    arrivals = Arrivals()
    for number, sequences in enumerate(connections):
        take(arrivals, sequences, FIRST + number * (SECOND - FIRST))
    return arrivals.order_violations, arrivals.went_back, arrivals.duplicates


def test_ranges_are_a_set_of_numbers():
    chance = random.Random(1)
    ranges, model = Ranges(), set()
    for _ in range(3000):
        number = chance.randint(1, 400)
        assert ranges.add(number) is (number not in model)
        model.add(number)
        if chance.random() < 0.1:
            probe = chance.randint(0, 401)
            assert ranges.above(probe) == min((one for one in model if one > probe), default=None)
            gaps = [one for first, last in ranges.gaps(probe) for one in range(first, last + 1)]
            assert gaps == [one for one in range(1, probe + 1) if one not in model]
    assert ranges.last() == max(model)


def test_copies_are_counted_and_are_no_disorder():
    assert judged([1, 2, 3, 2, 3, 4]) == (0, 0, 2)
    # The connection broke, and what was not confirmed is sent again.
    assert judged([1, 2, 3], [2, 3, 4]) == (0, 0, 2)


def test_live_may_pass_the_backlog_and_nothing_else_may():
    assert judged([1, 2, 150, 3, 151, 4]) == (0, 2, 0)
    # The backlog is not in order in itself.
    assert judged([1, 5, 150, 3, 151, 4, 2]) == (1, 3, 0)
    # What is live is not in order in itself: 151 was made after the connection.
    assert judged([1, 150, 152, 151]) == (1, 1, 0)
    # Two places to divide, which cannot both be.
    assert judged([1, 3, 2, 4, 6, 5]) == (1, 2, 0)


def test_a_new_connection_begins_anew():
    assert judged([1, 2, 150], [3, 4, 151]) == (0, 2, 0)
    assert judged([1, 2, 150], [250, 3, 4, 151, 251]) == (0, 3, 0)


def test_what_is_missing_is_counted_and_named():
    arrivals = Arrivals()
    take(arrivals, [1, 3], stream=0)
    take(arrivals, [1, 2], stream=1)
    # Seven events to two streams: four and three.
    missing, examples = arrivals.missing(7, 2)
    assert missing == 3
    assert examples == ["load/device-0/load/e1/2", "load/device-0/load/e1/4", "load/device-1/load/e1/3"]
    # A stream of which nothing came at all.
    assert arrivals.missing(2, 4) == (0, [])
    assert arrivals.missing(3, 4) == (1, ["device-2/1"])


def test_a_stream_that_changes_its_identity_is_told():
    arrivals = Arrivals()
    take(arrivals, [1, 2], module="line-1")
    take(arrivals, [3], module="line-2")
    assert arrivals.moved == 1


@pytest.mark.parametrize("body", [{"body_base64": "AA=="}, {"body": {"encoding": "fieldgate-compact", "version": 2}}, {"body": 1}])
def test_a_message_that_it_cannot_read_is_no_empty_one(body):
    with pytest.raises(Unreadable):
        Arrivals().take({"index": 1, "device": "gate", "module": None, "system": {"content-type": "x"}, **body})


def test_events_are_taken_out_of_every_encoding():
    published = [json.loads(line) for line in (VECTORS / "events.jsonl").read_text().splitlines()]
    for name in ("plain.json", "plain.json.gz", "compact.json", "compact.json.gz"):
        assert events_of(vector(name)) == published, name
    # OPC UA has measurements only, and no epoch.
    measured = [event["data"] for event in published if event["type"] == MEASUREMENTS]
    names = {f"{data['device']}/{data['group']}/{NO_EPOCH}/{data['sequence']}" for data in measured}
    for name in ("opcua-pubsub-json.json", "opcua-pubsub-json.json.gz"):
        found = {event["id"].partition("/")[2] for event in events_of(vector(name))}
        assert found and found <= names, name


def vector(name):
    return {"index": 1, "system": {}, "body_base64": base64.b64encode((VECTORS / name).read_bytes()).decode()}


def test_memory_grows_within_lives_only():
    memory = Memory(warm_up=10)
    for life, base in ((1, 10_000), (2, 30_000), (3, 20_000)):
        for second in range(100):
            # Far off while it warms up, then 6 kB in a minute.
            size = 50_000 if second < 10 else base + second * 0.1
            memory.sample(life * 1000 + second, life, size)
    assert memory.slope_kb_per_min() == pytest.approx(6.0)
    assert memory.greatest == 50_000
    assert Memory().slope_kb_per_min() is None
