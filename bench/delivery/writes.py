"""Bytes that the module's queue gives to the disk at the everyday rate, through the whole system: with the hub there, and without it."""

import json
import time

from fieldgate_testing.soak.site import Site
from fieldgate_testing.waiting import wait_for

RATE = 2000
# The queue's log is copied into its database when it has 4 MiB: no second of the load writes half as much.
COPY = 2**21
FOR_EVER = 1e6
# Messages at the hub whose bodies are measured.
LATEST = 400


def writes(folder, seconds):
    folder.mkdir()
    site = Site(folder)
    try:
        site.load(RATE)
        wait_for(lambda: site.hub.count() > RATE, "the load at the hub", 120)
        payload = payload_bytes(site.hub)
        live = state(site, "hub", seconds, payload)
        site.hub.fault("down", seconds=FOR_EVER)
        wait_for(lambda: site.figures.look() and not site.figures["connected"], "the module to notice the outage", 120)
        return [live, state(site, "outage", seconds, payload)]
    except AssertionError as error:
        raise AssertionError(f"{error}\n{site.explain()}") from None
    finally:
        site.stop()


def state(site, name, seconds, payload):
    after_a_copy(site)
    before = after_a_copy(site)
    time.sleep(seconds)
    took, events, counted, written = (end - begun for begun, end in zip(before, after_a_copy(site)))
    if events < 0.9 * RATE * took:
        raise AssertionError(f"{events} events in {took:.0f} s were stored, {RATE} per second were planned: these figures would not be of the full load")
    if counted and not written:
        raise SystemExit(f"{site.folder} is not on a disk: set TMPDIR to a folder on one")
    return {
        "state": name,
        "events_per_second": round(events / took),
        "payload_bytes": round(payload),
        "counted_bytes_per_payload_byte": round(counted / (events * payload), 2),
        "written_bytes_per_payload_byte": round(written / (events * payload), 2),
    }


def after_a_copy(site):
    """What `now` says when the log has just been copied: between two such moments everything has been written as often as it will be."""
    latest = now(site)

    def copied():
        nonlocal latest
        before, latest = latest, now(site)
        return latest if latest[2] - before[2] > COPY else None

    return wait_for(copied, "the log to be copied into the database", 120)


def now(site):
    """Seconds, events that took a route into the queue, bytes to the disk by the module's own count and by the kernel's (proc(5))."""
    figures = site.figures
    wait_for(figures.look, "the module's figures", 10)
    with open(f"/proc/{site.module.process.process.pid}/io", encoding="ascii") as io:
        written = next(int(line.split()[1]) for line in io if line.startswith("write_bytes:"))
    return time.monotonic(), figures["routed_total"], figures["queue_written_bytes_total"], written


def payload_bytes(hub):
    """Of the events at the hub, the mean of the latest."""
    bodies = [json.loads(line)["body"] for line in hub.page(max(0, hub.count() - LATEST))]
    # As it was published: without spaces, and the generator's numbers have one form only.
    sizes = [len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()) for body in bodies]
    return sum(sizes) / len(sizes)
