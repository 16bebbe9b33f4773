#!/usr/bin/env python3
"""Reads messages that Fieldgate sent to IoT Hub, in any of its encodings, with nothing but Python's own library.

    read-hub-messages.py FILE...                      bodies of messages, one in a file
    read-hub-messages.py --events FILE...             the events instead of values
    EVENT_HUB="Endpoint=sb://…;EntityPath=…" read-hub-messages.py --listen
                                                      the hub's built-in endpoint, with the package azure-eventhub

Prints a line of JSON for each value: source, device, group, epoch, sequence, time, tag, and value, or bad with the reason.
What the encodings mean: docs/reference/encodings.md.
"""

import datetime
import json
import os
import sys
import zlib

TEXT_BYTES = 4 << 20  # no message is larger once it is unpacked
EVENT_BYTES = 16 << 20  # nor are its events together, with 32 bytes for each
DERIVED = ("subject", "partitionkey", "sequence", "datacontenttype")
MEASUREMENTS = "com.fieldgate.measurements.v1"


class Unreadable(ValueError):
    """A message that no encoding explains. Reading it again does not help."""


# --- messages ------------------------------------------------------------------------------------------------------------------------


def decode(body):
    """The content of a message: ("events", [CloudEvent, …]) or, for OPC UA, ("datasets", NetworkMessage)."""
    text = unpack(body) if body[:2] == b"\x1f\x8b" else body
    if len(text) > TEXT_BYTES:
        raise Unreadable(f"more than {TEXT_BYTES} bytes of text")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    if isinstance(message, list):
        return "events", message
    if not isinstance(message, dict):
        raise Unreadable("neither an object nor an array")
    if "specversion" in message:
        return "events", [message]
    if message.get("encoding") == "fieldgate-compact":
        if message["version"] > 1:
            raise Unreadable(f"version {message['version']} of the compact form; this program reads version 1")
        try:
            return "events", list(compact(message))
        except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise Unreadable(f"the message contradicts itself: {error!r}") from error
    if message.get("MessageType") == "ua-data":
        return "datasets", message
    raise Unreadable("an encoding that is not known")


def unpack(body):
    """gzip, with a bound: what is larger is a mistake or an attack."""
    unpacked = b""
    while body:
        member = zlib.decompressobj(wbits=31)
        try:
            unpacked += member.decompress(body, TEXT_BYTES + 1 - len(unpacked))
        except zlib.error as error:
            raise Unreadable(f"damaged: {error}") from error
        if len(unpacked) > TEXT_BYTES:
            raise Unreadable(f"more than {TEXT_BYTES} bytes of text")
        if not member.eof:
            raise Unreadable("the compressed message ends early")
        body = member.unused_data
    return unpacked


# --- compact -------------------------------------------------------------------------------------------------------------------------


def compact(message):
    """The events of a compact message, in their order."""
    known = {}
    room = EVENT_BYTES
    for block in message["blocks"]:
        parts = [part_events(part, known) for part in block["streams"]]
        others = iter(block.get("other", []))
        order = block.get("order")
        if order is None:
            order = [place for place, part in enumerate(block["streams"]) for _ in part["sequence"]]
            order += [-1] * len(block.get("other", []))
        for place in order:
            try:
                event = next(others if place < 0 else parts[place])
            except (StopIteration, IndexError) as error:
                raise Unreadable("the order does not fit the events") from error
            room -= len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()) + 32
            if room < 0:
                raise Unreadable(f"more than {EVENT_BYTES} bytes of events")
            yield event


def part_events(part, known):
    """The events of one stream in one block. `known` has what earlier blocks said about the streams."""
    stream = known.setdefault(part["stream"], {"tags": []})
    if "source" in part:
        stream |= {name: part[name] for name in ("source", "device", "group", "epoch")}
        stream["absent"] = part.get("absent", [])
    stream["tags"] += part.get("tags", [])
    module = stream["source"].rsplit("/", 1)[-1]
    device, group, epoch = stream["device"], stream["group"], stream["epoch"]

    count = len(part["sequence"])

    def named(member, text=None):
        return {name: cells(column, count, text) for name, column in part.get(member, {}).items()}

    times = cells(part["time"], count, time_text)
    own_times = cells(part["timestamp"], count, time_text) if "timestamp" in part else None
    attributes, bad, timestamps = named("attributes"), named("bad"), named("timestamps", time_text)
    values = {tag: cells(column, count) for tag, column in zip(stream["tags"], part["values"]) if column is not None}

    sequence = 0
    for step in part["sequence"]:
        sequence += step
        time = next(times)
        own = row(attributes)
        event = {
            "specversion": "1.0",
            "id": f"{module}/{device}/{group}/{epoch}/{sequence}",
            "source": stream["source"],
            "type": MEASUREMENTS,
            "time": time,
        }
        derived = (f"{device}/{group}", device, f"{sequence:020}", "application/json")
        event |= {name: value for name, value in zip(DERIVED, derived) if name not in stream["absent"]}
        event |= own
        data = {"device": device, "group": group, "epoch": epoch, "sequence": sequence}
        own_time = next(own_times) if own_times else None
        data["timestamp"] = time if own_time is None else own_time
        data["values"] = row(values)
        if "bad" in part:
            data["bad"] = row(bad)
        if "timestamps" in part:
            data["timestamps"] = row(timestamps)
        event["data"] = data
        yield event


def row(columns):
    """The next cell of each column that is not empty."""
    next_cells = {name: next(column) for name, column in columns.items()}
    return {name: cell for name, cell in next_cells.items() if cell is not None}


def cells(column, count, text=None):
    """The cells of a column in whichever of its three forms; None where an event has none."""
    if isinstance(column, list):
        has = len(column)
    elif "runs" in column:
        has = sum(column["runs"][::2])
    else:
        has = len(column["delta"])
    if has != count:
        raise Unreadable(f"a column has {has} cells for {count} events")
    return iterate(column, text or number)


def iterate(column, text):
    if isinstance(column, list):
        yield from column
    elif "runs" in column:
        runs = column["runs"]
        for count, value in zip(runs[::2], runs[1::2]):
            for _ in range(count):
                yield value
    else:
        total = 0
        for step in column["delta"]:
            if step is None:
                yield None
            else:
                total += step
                yield text(total, column["decimals"])


def number(integer, decimals):
    # Exact: both are doubles, and a division of doubles is rounded once, as the text of the number would be.
    return integer if decimals == 0 else integer / 10**decimals


def time_text(ticks, decimals):
    seconds, fraction = divmod(ticks, 10**decimals)
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return at.isoformat() + (f".{fraction:0{decimals}}Z" if decimals else "Z")


# --- values --------------------------------------------------------------------------------------------------------------------------


def rows(content):
    """A dict for each value of the measurements in a message, whatever its encoding."""
    kind, message = content
    if kind == "events":
        for event in message:
            if event.get("type") == MEASUREMENTS:
                yield from rows_of_event(event)
        return
    for data_set in message["Messages"]:
        device, _, group = data_set["DataSetWriterName"].partition("/")
        base = {
            "source": f"{message['PublisherId']}/{data_set['WriterGroupName']}",
            "device": device,
            "group": group,
            "epoch": None,  # OPC UA has no place for it: a higher MetaDataVersion or a lower SequenceNumber tells of a new run
            "sequence": data_set["SequenceNumber"],
        }
        for tag, field in data_set["Payload"].items():
            line = base | {"time": field.get("SourceTimestamp", data_set["Timestamp"]), "tag": tag}
            if "Value" in field:
                integer = field.get("UaType") in (8, 9)
                yield line | {"value": int(field["Value"]) if integer else field["Value"]}
            else:
                yield line | {"bad": field["Status"].get("Symbol", field["Status"]["Code"])}


def rows_of_event(event):
    data = event["data"]
    times = data.get("timestamps", {})
    base = {"source": event["source"]} | {name: data[name] for name in ("device", "group", "epoch", "sequence")}
    for tag, value in data["values"].items():
        yield base | {"time": times.get(tag, data["timestamp"]), "tag": tag, "value": value}
    for tag, reason in data.get("bad", {}).items():
        yield base | {"time": times.get(tag, data["timestamp"]), "tag": tag, "bad": reason}


def show(body, as_events):
    content = decode(body)
    lines = content[1] if as_events and content[0] == "events" else rows(content)
    for line in lines:
        print(json.dumps(line, ensure_ascii=False))


def listen(as_events):
    """Reads from the hub's built-in endpoint. Events that were read twice have the same id."""
    from azure.eventhub import EventHubConsumerClient  # pip install azure-eventhub

    def on_event(_partition, event):
        body = b"".join(event.body)
        try:
            show(body, as_events)
        except Unreadable as error:
            print(f"{event.system_properties.get(b'message-id')}: {error}", file=sys.stderr)

    client = EventHubConsumerClient.from_connection_string(os.environ["EVENT_HUB"], consumer_group="$Default")
    with client:
        client.receive(on_event=on_event, starting_position="-1")


def main(arguments):
    as_events = "--events" in arguments
    files = [argument for argument in arguments if not argument.startswith("--")]
    if "--listen" in arguments:
        listen(as_events)
    elif not files:
        sys.exit(__doc__)
    for name in files:
        with open(name, "rb") as file:
            try:
                show(file.read(), as_events)
            except Unreadable as error:
                sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
