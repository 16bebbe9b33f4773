"""Runs `scripts/bench --only delivery` and writes bench/delivery.json and bench/delivery.md."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform as machine
import re
import subprocess
import tempfile

from fieldgate_testing.emulator import start_emulator
from fieldgate_testing.soak.delivery import say
from fieldgate_testing.soak.site import need_disk
from run import SIZE

from .rates import PORT, rates
from .report import page, targets
from .round_trips import round_trips
from .self_fed import example
from .writes import writes

BENCH = pathlib.Path(__file__).resolve().parents[1]
# The emulator keeps every message, the queue a backlog.
BYTES_ON_DISK = 4 << 30
# The counts of messages are for this time.
USUAL = 60


def span(text):
    """60s or 2m, in seconds."""
    found = re.fullmatch(r"(\d+)(s|m)", text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text} is no time: write it like 60s or 2m")
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


@contextlib.contextmanager
def emulated_hub(folder):
    """On the port that Microsoft's SDKs have hard-coded."""
    folder.mkdir()
    process, hub = start_emulator(folder, PORT)
    try:
        yield hub
    finally:
        process.stop()


def tags():
    done = subprocess.run([str(example("tags_per_message")), "--json"], stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure(part, folder, seconds):
    say(f"== {part}")
    if part == "tags":
        return tags()
    if part == "writes":
        return writes(folder / "writes", seconds)
    with emulated_hub(folder / f"{part}-hub") as hub:
        if part == "rates":
            return rates(hub, folder, seconds / USUAL)
        return round_trips(hub, folder, seconds / 6)


PARTS = ("tags", "rates", "round_trips", "writes")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --only delivery", description=__doc__)
    parser.add_argument("--for", dest="seconds", type=span, default=span("60s"), help="how long writes are measured in each state; the other parts in proportion (default 60s)")
    parser.add_argument("--part", choices=PARTS, help="measure one part and keep the others of bench/delivery.json")
    options = parser.parse_args()
    kept = json.loads((BENCH / "delivery.json").read_text()) if options.part else {}
    results = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {machine.machine()}, Linux {machine.release().split('-')[0]}",
        "seconds": options.seconds,
        "event_bytes": SIZE,
    }
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as name:
        folder = pathlib.Path(name)
        need_disk(folder, BYTES_ON_DISK)
        for part in PARTS:
            results[part] = measure(part, folder, options.seconds) if options.part in (None, part) else kept[part]
    results["targets"] = targets(results)
    (BENCH / "delivery.json").write_text(json.dumps(results, indent=1) + "\n")
    (BENCH / "delivery.md").write_text(page(results))
    print((BENCH / "delivery.md").read_text())


if __name__ == "__main__":
    main()
