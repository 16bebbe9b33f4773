"""The runs of `scripts/soak`. Progress goes to standard error; the last line of standard output is one JSON object."""

import argparse
import json
import pathlib
import random
import re
import shutil
import sys
import tempfile

from .delivery import Delivery, say
from .faults import KINDS
from .outage import Outage
from .site import need_disk

UNITS = {"s": 1, "m": 60, "h": 3600}
# What an event takes on the disk: once at the emulator; during an outage in the queue as well; and what the broker holds.
BYTES_AT_HUB, BYTES_IN_QUEUE, BYTES_OF_BROKER = 1500, 2000, 1 << 30


def time(text):
    found = re.fullmatch(r"(\d+)([smh])", text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 30m or 2h")
    return int(found[1]) * UNITS[found[2]]


def count(text):
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Long runs of the whole system as processes on this machine.")
    runs = parser.add_subparsers(dest="run", required=True)
    delivery = runs.add_parser("delivery", help="a steady load and one fault after the other")
    delivery.add_argument("--for", dest="seconds", type=time, default="30m", metavar="TIME", help="how long the load lasts (30m)")
    delivery.add_argument("--rate", type=count, default=2000, metavar="N", help="events per second (2000)")
    delivery.add_argument("--fault-every", type=time, default="20s", metavar="TIME", help="between two faults (20s)")
    delivery.add_argument("--without", action="append", default=[], choices=KINDS, metavar="FAULT", help=f"a kind that is not made: {', '.join(KINDS)}")
    outage = runs.add_parser("outage", help="the hub is away while a backlog grows, and comes back")
    outage.add_argument("--events", type=count, default=2_000_000, metavar="N", help="the backlog (2000000)")
    outage.add_argument("--live-rate", type=count, default=200, metavar="N", help="events per second when the hub is back (200)")
    for one in (delivery, outage):
        one.add_argument("--seed", type=int, default=None, metavar="N", help="for the same faults again (by chance)")
        one.add_argument("--streams", type=count, default=200, metavar="N", help="streams, each with a key of its own (200)")
        one.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="use this new folder and keep it: logs, queue, what the hub received")
    options = parser.parse_args()
    if options.run == "delivery" and not set(KINDS) - set(options.without):
        parser.error("--without leaves no kind of fault: use a --fault-every longer than the run for none at all")
    return options


def make(options, folder):
    if options.run == "delivery":
        need_disk(folder, options.seconds * options.rate * BYTES_AT_HUB + BYTES_OF_BROKER)
        return Delivery(folder, options.seconds, options.rate, options.seed, options.fault_every, options.streams, options.without)
    need_disk(folder, options.events * (BYTES_AT_HUB + BYTES_IN_QUEUE) + BYTES_OF_BROKER)
    return Outage(folder, options.events, options.live_rate, options.seed, options.streams)


def main():
    options = arguments()
    if options.seed is None:
        options.seed = random.randrange(1 << 32)
    if options.keep:
        options.keep.mkdir(parents=True)
    folder = (options.keep or pathlib.Path(tempfile.mkdtemp(prefix="fieldgate-soak-"))).resolve()
    say(f"seed {options.seed}, in {folder}")
    good = False
    try:
        run = make(options, folder)
        try:
            summary = run.run()
        finally:
            run.stop()
        for problem in run.problems:
            say(f"FAILED: {problem}")
        good = not run.problems
        print(json.dumps(summary))
    finally:
        if good and not options.keep:
            shutil.rmtree(folder)
        else:
            say(f"kept: {folder}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
