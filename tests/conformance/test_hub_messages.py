"""The example reader of hub messages in Python reads what the encoder writes: kept messages, their events, and the schema."""

import gzip
import importlib.util
import json
import pathlib
import subprocess
import sys

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "crates/hub-encoding/tests/vectors"
READER = ROOT / "docs/extend/examples/read-hub-messages.py"

spec = importlib.util.spec_from_file_location("read_hub_messages", READER)
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)

EVENTS = [json.loads(line) for line in (VECTORS / "events.jsonl").read_text(encoding="utf-8").splitlines()]
SCHEMA = json.loads((ROOT / "docs/reference/compact-message.schema.json").read_text())


def kinds(value):
    """JSON with the kinds of its numbers: to Python, 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {name: kinds(member) for name, member in value.items()}
    if isinstance(value, list):
        return [kinds(item) for item in value]
    return type(value).__name__, value


@pytest.mark.parametrize("name", ["plain.json", "plain.json.gz", "compact.json", "compact.json.gz", "compact-blocks.json"])
def test_events_come_back_as_they_were(name):
    kind, events = reader.decode((VECTORS / name).read_bytes())
    assert kind == "events"
    if name == "compact-blocks.json":  # as many rounds of the events as it holds
        assert len(events) > 2 * len(EVENTS)
        assert kinds(events) == kinds((EVENTS * 12)[: len(events)])
    else:
        assert kinds(events) == kinds(EVENTS)


@pytest.mark.parametrize("name", ["compact.json", "compact.json.gz", "compact-blocks.json"])
def test_compact_messages_hold_to_the_schema(name):
    body = (VECTORS / name).read_bytes()
    message = json.loads(gzip.decompress(body) if name.endswith(".gz") else body)
    jsonschema.Draft202012Validator(SCHEMA).validate(message)


def test_every_encoding_gives_the_same_values():
    def values(name):
        lines = subprocess.run([sys.executable, READER, VECTORS / name], check=True, capture_output=True, text=True, encoding="utf-8").stdout
        # Of one event the tags have no order.
        return sorted(map(json.loads, lines.splitlines()), key=lambda line: [str(line[name]) for name in ("source", "device", "time", "sequence", "tag")])

    plain = values("plain.json")
    assert len(plain) == sum(len(e["data"]["values"]) + len(e["data"].get("bad", {})) for e in EVENTS if e["type"] == reader.MEASUREMENTS)
    assert 18446744073709551615 in {line.get("value") for line in plain}
    assert kinds(plain) == kinds(values("compact.json.gz")) == kinds(values("plain.json.gz"))

    # OPC UA has no epoch, status codes in the place of reasons, and the event's time where another encoding has data.timestamp.
    def without(lines):
        names = ("source", "device", "group", "sequence", "tag", "value")
        return sorted((kinds({name: line.get(name) for name in names}) for line in lines), key=str)

    assert without(plain) == without(values("opcua-pubsub-json.json.gz"))
    assert "BadTimeout" in {line.get("bad") for line in values("opcua-pubsub-json.json")}


def test_a_bomb_and_a_damaged_message_are_refused():
    for body in (gzip.compress(b" " * (64 << 20)), (VECTORS / "compact.json.gz").read_bytes()[:-9], b"[", b"{}", b"\xff"):
        with pytest.raises(reader.Unreadable):
            reader.decode(body)
    broken = (VECTORS / "compact.json").read_bytes().replace(b'"delta":[', b'"delta":[null,', 1)
    with pytest.raises(reader.Unreadable):
        reader.decode(broken)
