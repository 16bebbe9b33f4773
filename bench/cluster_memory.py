"""Memory of everything on a Kubernetes node with Fieldgate: with nothing to read, and at 50,000 points/s.

Starts a node of its own; `scripts/bench --only cluster` runs it in the namespaces that needs. Prints both tables, and at last a JSON object.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster"), str(ROOT / "tests" / "conformance")]

import yaml  # noqa: E402
from node import Node  # noqa: E402
from plant import Plant  # noqa: E402

from fieldgate_testing.cluster import images, reports  # noqa: E402
from fieldgate_testing.cluster.hub import HubProcess  # noqa: E402
from fieldgate_testing.cluster.memory import memory_table  # noqa: E402
from fieldgate_testing.cluster.pod_watch import PodWatch  # noqa: E402
from fieldgate_testing.cluster.system import ClusterSystem  # noqa: E402
from fieldgate_testing.waiting import wait_for  # noqa: E402

# The plant of `fieldgate bench pipeline`.
DEVICES, REGISTERS, PERIOD_MS = 10, 500, 100
PLANNED = DEVICES * REGISTERS * 1000 // PERIOD_MS
TARGET_MIB = 300
# Running before anything is measured: connections, caches and heaps have settled.
WARM_UP = 20


def points_at_the_hub(hub, after):
    """How many values the messages behind an index hold, and the index of the last one."""
    messages = hub.messages(after=after)
    data = [message["body"]["data"] for message in messages]
    return sum(len(one.get("values", ())) for one in data), messages[-1]["index"] if messages else after


def newest(hub):
    return hub.json("GET", "/messages/count")["count"]


def measure(system, plant, seconds):
    idle = memory_table(system.node)
    print(f"## Idle: one device of two tags\n\n{idle.markdown()}\n", flush=True)

    system.write_configuration(yaml.safe_dump(plant.reader_document(system.node.address), sort_keys=False))

    def loaded():
        return points_at_the_hub(system.hub, newest(system.hub) - 5)[0] >= REGISTERS

    wait_for(loaded, "the load to arrive at the hub", timeout=180, interval=1)
    time.sleep(WARM_UP)
    begin, before = time.monotonic(), newest(system.hub)
    time.sleep(seconds)
    points, _ = points_at_the_hub(system.hub, before)
    rate = points / (time.monotonic() - begin)
    load = memory_table(system.node)
    print(f"## At {rate:,.0f} points/s\n\n{load.markdown()}\n", flush=True)
    return {
        "points_per_second_planned": PLANNED,
        "points_per_second": round(rate),
        "target_mib": TARGET_MIB,
        "idle": idle.json(),
        "load": load.json(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="seconds", type=lambda text: int(text.removesuffix("s")), default=60, help="how long the load is measured (default 60s)")
    options = parser.parse_args()
    parts = []
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        for part in ("node", "emulator", "plant", "system"):
            (folder / part).mkdir()
        stages = reports.Stages()
        try:
            node = Node(folder / "node")
            parts.append(node.stop)
            node.start()
            images.load(node)
            hub = HubProcess(folder / "emulator", node.address)
            parts.append(hub.stop)
            plant = Plant(folder / "plant", node.address, DEVICES, REGISTERS, PERIOD_MS)
            parts.append(plant.process.stop)
            watch = PodWatch(node, folder / "watch.log")
            parts.append(watch.stop)
            # Without an audit that reads along: its consumer would be part of what the broker carries.
            system = ClusterSystem(node, folder / "system", hub.emulator, watch, stages, audited=False)
            parts.append(system.stop)
            system.fresh()
            figures = measure(system, plant, options.seconds)
            watch.check()
        finally:
            for stop in reversed(parts):
                stop()
    reports.write("cluster-memory", figures)
    print(json.dumps(figures))
    if figures["points_per_second"] < 0.95 * PLANNED:
        sys.exit(f"{figures['points_per_second']} points/s arrived, {PLANNED} were planned: these figures are not of the full load")


if __name__ == "__main__":
    main()
