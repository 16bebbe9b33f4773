"""The events of a hub message of any encoding, taken out with the program that users get: docs/extend/examples/read-hub-messages.py."""

import base64
import importlib.util
import json

from ..process import ROOT


def _load():
    specification = importlib.util.spec_from_file_location("read_hub_messages", ROOT / "docs/extend/examples/read-hub-messages.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


READER = _load()
MEASUREMENTS, Unreadable = READER.MEASUREMENTS, READER.Unreadable
# OPC UA has no place for the epoch.
NO_EPOCH = "-"


def body_of(message):
    """The bytes of a message as the emulator tells of it."""
    if "body_base64" in message:
        return base64.b64decode(message["body_base64"])
    return json.dumps(message["body"], separators=(",", ":"), ensure_ascii=False).encode()


def events_of(message):
    """A list. Of OPC UA as far as it carries them: id (without the epoch), type, time, and good values."""
    content = READER.decode(body_of(message))
    kind, events = content
    return events if kind == "events" else list(_measurements(content))


def _measurements(content):
    events = {}
    for row in READER.rows(content):
        module = row["source"].rpartition("/")[2]
        name = f"{module}/{row['device']}/{row['group']}/{NO_EPOCH}/{row['sequence']}"
        event = events.setdefault(name, {"id": name, "type": MEASUREMENTS, "time": row["time"], "data": {"values": {}}})
        if "value" in row:
            event["data"]["values"][row["tag"]] = row["value"]
    return events.values()
