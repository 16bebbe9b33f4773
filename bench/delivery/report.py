"""The figures as a page, with the targets of the product beside them."""

from run import table

from .rates import AT_ONCE, DRAIN, WINDOWS
from .writes import RATE

MESSAGES_PER_SECOND = 15_000
# Of window / round-trip time, at these round-trip times in milliseconds.
SHARE, SHARE_AT = 0.9, (20, 100)
# The relay's line may take so many milliseconds more than planned; a longer one would flatter the share.
LATE = 5
BYTES_PER_PAYLOAD_BYTE = 3
TAGS = {False: 3_000, True: 20_000}
OPC_PUBLISHER = (300, 475)


def targets(results):
    """What is aimed at, what it is, and whether that is enough."""
    rows = []
    default = WINDOWS[0]
    durable = [row for row in results["rates"] if row["durable"] and row["window"] == default]
    slowest = min(durable, key=lambda row: row["rate"])
    rows.append((f"durable messages/s, window {default}: ≥ {MESSAGES_PER_SECOND:,}", f"{slowest['rate']:,} ({slowest['sender']})", slowest["rate"] >= MESSAGES_PER_SECOND))
    for row in results["round_trips"]:
        if row["milliseconds"] in SHARE_AT and not bounded_otherwise(results, row):
            what = f"of window / round-trip time, window {row['window']} at {row['milliseconds']} ms: ≥ {SHARE:.0%}"
            alone = row["round_trip_ms"] <= row["milliseconds"] + LATE
            figure = f"{row['share']:.1%}" + ("" if alone else f" (of {row['round_trip_ms']} ms: the machine was not alone)")
            rows.append((what, figure, row["share"] >= SHARE and alone))
    for row in results["writes"]:
        figure = max(row["counted_bytes_per_payload_byte"], row["written_bytes_per_payload_byte"])
        where = "the hub there" if row["state"] == "hub" else "in an outage"
        rows.append((f"bytes written per payload byte at {RATE:,} events/s, {where}: ≤ {BYTES_PER_PAYLOAD_BYTE}", figure, figure <= BYTES_PER_PAYLOAD_BYTE))
    for gzip, least in TAGS.items():
        worst = min((row for row in results["tags"] if row["encoding"] == "compact" and row["gzip"] == gzip), key=lambda row: row["tags"])
        what = f"tags per message, `compact`{' gzip' if gzip else ''}: ≥ {least:,}"
        rows.append((what, f"{worst['tags']:,} (`{worst['signals']}`, the worst)", worst["tags"] >= least))
    return [{"target": what, "figure": str(figure), "met": bool(met)} for what, figure, met in rows]


def bounded_otherwise(results, row):
    """Whether this machine does not send as fast as that window would allow, even without the line."""
    loopback = next(one["rate"] for one in results["rates"] if one["sender"] == DRAIN and one["window"] == row["window"])
    return row["window"] / row["round_trip_ms"] * 1000 > loopback


def page(results):
    judged = [(row["target"], row["figure"], "yes" if row["met"] else "**no**") for row in results["targets"]]
    return f"""# Delivery: queue, sending, encodings

Written by `scripts/bench --only delivery` on {results["date"]}; {results["machine"]}. Single run of a shared machine: ratios inside one table mean something, absolute
rates less. How it is measured: [README.md](README.md#delivery).

{table(["target", "figure", "met"], judged)}

`iothub-module` ≤ 40 MB PSS under faults is `scripts/soak`'s to say ([delivery.md](../docs/reference/delivery.md#how-it-is-tried): `pss_max_kb`).

## {results["event_bytes"]}-byte messages on one emulator, QoS 1, TLS

{table(["window", "sender", "durable", "messages/s", "CPU µs/message", "times Node", "times Python"], rate_rows(results))}

`{of_module(DRAIN)}`: all messages are stored when the module starts. `{of_module(AT_ONCE)}`: meanwhile each is validated, routed, put in order, synced to the disk,
sent and removed. The median of {len(results["rates"][0]["rates"])} by turns.

{table(["window", "iothub-module", "window reached", "PUBACK p50 ms", "PUBACK p99 ms", "PSS MiB"], line_rows(results))}

## Window against round-trip time

Through a relay that delays each way; the round-trip time is measured through it, without load. What more than the machine can send has no target.

{table(["window", "planned ms", "round trip ms", "window / round trip", "messages/s", "share", "window reached", "PUBACK p50 ms", "PUBACK p99 ms"], trip_rows(results))}

## Bytes to the disk per payload byte

{RATE:,} events/s through sidecars and broker; payload is the event as it was published. Counted: by the queue (`queue_written_bytes_total`); written: `write_bytes` of
`/proc/PID/io`.

{table(["hub", "events/s", "payload bytes", "counted", "written"], write_rows(results))}

## Tags per message of 256 KB

200 tags to an event; the signals: [tags_per_message](../crates/hub-encoding/examples/tags_per_message.rs). OPC Publisher's documentation gives {OPC_PUBLISHER[0]} to
{OPC_PUBLISHER[1]} tags; times: as often as the larger figure.

{table(["signals", "encoding", "tags", "times", "events", "bytes per tag", "encode, CPU µs/event", "decode, CPU µs/event"], tag_rows(results))}
"""


def of_module(sender):
    return sender.partition(", ")[2]


def line(row):
    latencies = ("–" if row[name] is None else row[name] for name in ("puback_ms_p50", "puback_ms_p99"))
    return row["window_reached"], *latencies


def rate_rows(results):
    for row in results["rates"]:
        of_window = {one["sender"]: one["rate"] for one in results["rates"] if one["window"] == row["window"]}
        peers = [next(rate for name, rate in of_window.items() if peer in name) for peer in ("Node", "Python")]
        times = [f"{row['rate'] / rate:.1f}" for rate in peers]
        yield row["window"], row["sender"], "yes" if row["durable"] else "no", f"{row['rate']:,}", row["cpu_us_per_message"], *times


def line_rows(results):
    for row in results["rates"]:
        if row["durable"]:
            yield row["window"], of_module(row["sender"]), *line(row), row["pss_mib"]


def trip_rows(results):
    for row in results["round_trips"]:
        most = f"{row['window'] / row['round_trip_ms'] * 1000:,.0f}"
        share = f"{row['share']:.1%}" + (" (the machine)" if bounded_otherwise(results, row) else "")
        yield row["window"], row["milliseconds"], row["round_trip_ms"], most, f"{row['rate']:,}", share, *line(row)


def write_rows(results):
    for row in results["writes"]:
        there = "there" if row["state"] == "hub" else "away"
        yield there, f"{row['events_per_second']:,}", row["payload_bytes"], row["counted_bytes_per_payload_byte"], row["written_bytes_per_payload_byte"]


def tag_rows(results):
    for row in results["tags"]:
        encoding = f"`{row['encoding']}`" + (" gzip" if row["gzip"] else "")
        size = f"{row['payload_bytes'] / row['tags']:.2f}"
        times = f"{row['tags'] / OPC_PUBLISHER[1]:,.0f}"
        yield row["signals"], encoding, f"{row['tags']:,}", times, row["events"], size, row["encode_us_per_event"], row["decode_us_per_event"]
