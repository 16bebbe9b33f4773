"""What a Kubernetes node with Fieldgate writes to its disk: idle, untuned and tuned, and while it delivers 500 events/s.

Starts a node of its own (k3s when FIELDGATE_K3S names it); `scripts/bench --only flash` runs it in the namespaces that needs. Prints a table for each state, and at
last a JSON object.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster"), str(ROOT / "tests" / "conformance")]

import yaml  # noqa: E402
from node import K3s, Node  # noqa: E402
from node.k3s import DATA, SETTINGS  # noqa: E402
from plant import Plant  # noqa: E402

from fieldgate_testing import main_job  # noqa: E402
from fieldgate_testing.cluster import images, reports  # noqa: E402
from fieldgate_testing.cluster.data_disk import DataDisk, in_memory  # noqa: E402
from fieldgate_testing.cluster.disk_writes import DatabaseRows, DiskWrites  # noqa: E402
from fieldgate_testing.cluster.hub import HubProcess  # noqa: E402
from fieldgate_testing.cluster.system import ClusterSystem  # noqa: E402
from fieldgate_testing.process import free_ports  # noqa: E402
from fieldgate_testing.waiting import wait_for  # noqa: E402

# One event for each device and period, of ten registers.
DEVICES, REGISTERS, PERIOD_MS = 50, 10, 100
PLANNED = DEVICES * 1000 // PERIOD_MS
TARGET_MB = 40
# After a change: what starting has left to write is written, and the database has been compacted once.
WARM_UP = 180
# What Kubernetes and k3s do without our lines, by the group that a state leaves untuned; a file that sorts later wins.
API_SERVER = "[event-ttl=1h0m0s, endpoint-reconciler-type=lease, 'feature-gates=APIServerIdentity=true,UnknownVersionInteroperabilityProxy=false', etcd-compaction-interval=5m]"
CONTROLLERS = "[node-monitor-grace-period=50s, node-monitor-period=5s]"
KUBELET = {"nodeLeaseDurationSeconds": 40, "nodeStatusUpdateFrequency": "10s", "nodeStatusReportFrequency": "5m"}
UNTUNED = {"untuned": {"API server", "kubelet"}, "kubelet tuned": {"API server"}}
STATES = [*UNTUNED, "idle", "one", "load"]


class Flash:
    """The node, what it keeps on a disk of its own, and everything around it."""

    def __init__(self, folder, seconds, warm_up, features=None):
        self.seconds, self.warm_up = seconds, warm_up
        self.parts = []
        self.folder = folder
        for part in ("node", "emulator", "plant", "system"):
            (folder / part).mkdir()
        self.disk = DataDisk(folder, features)
        # Journal, logs of containers and what a boot makes anew are in memory on the device.
        for path in (folder / "node", pathlib.Path("/var/log"), pathlib.Path("/var/lib/cni"), pathlib.Path("/run/containerd")):
            in_memory(path)
        self.k3s = bool(os.environ.get("FIELDGATE_K3S"))
        if self.k3s:
            in_memory(pathlib.Path("/run/k3s"))
            held = [DATA, SETTINGS.parent]
            self.database = DATA / "server/db/state.db"
        else:
            held = [folder / "node/database", folder / "node/containerd"]
            self.database = folder / "node/database/state.db"
        for path in (*held, pathlib.Path("/var/lib/kubelet"), pathlib.Path("/var/lib/fieldgate")):
            self.disk.hold(path)

    def start(self):
        self.node = (K3s if self.k3s else Node)(self.folder / "node")
        self.parts.append(self.node.stop)
        self.node.start()
        images.load(self.node)
        hub = HubProcess(self.folder / "emulator", self.node.address)
        self.parts.append(hub.stop)
        self.plant = Plant(self.folder / "plant", self.node.address, DEVICES, REGISTERS, PERIOD_MS)
        self.parts.append(self.plant.process.stop)
        # Without an audit that reads along: its consumer would be part of what the broker writes.
        self.system = ClusterSystem(self.node, self.folder / "system", hub.emulator, None, reports.Stages(), audited=False)
        self.parts.append(self.system.stop)
        self.system.fresh()
        self.hub = hub

    def stop(self):
        for stop in reversed(self.parts):
            stop()

    # ---- states

    def arrived(self):
        assert self.hub.process.running(), f"the emulator has ended:\n{self.hub.process.log_tail()}"
        return self.hub.emulator.json("GET", "/messages/count")["count"]

    def read(self, document):
        self.system.write_configuration(yaml.safe_dump(document, sort_keys=False))

    def nothing_delivered(self):
        """A device that does not answer and is asked once a day."""
        (port,) = free_ports(1)
        document = main_job.reader_document(self.node.address, port)
        document["groups"][0]["period"] = "24h"
        self.read(document)
        last = [-1]

        def quiet():
            before, last[0] = last[0], self.arrived()
            return last[0] == before

        wait_for(quiet, "the last event at the hub", timeout=180, interval=15)

    def one_event_a_second(self):
        document = main_job.reader_document(self.node.address, self.system.plc.port)
        document["groups"][0]["period"] = "1s"
        self.read(document)
        self.system.fresh()

    def load(self):
        self.read(self.plant.reader_document(self.node.address))
        begun = [time.monotonic(), self.arrived()]

        def fast():
            now, count = time.monotonic(), self.arrived()
            rate = (count - begun[1]) / (now - begun[0])
            begun[:] = now, count
            return rate >= 0.95 * PLANNED

        wait_for(fast, f"{PLANNED} events/s at the hub", timeout=180, interval=5)

    def untune(self, groups):
        """k3s as it is without our lines for these groups."""
        settings, kubelet = SETTINGS / "config.yaml.d/30-untuned.yaml", DATA / "agent/etc/kubelet.conf.d/30-untuned.conf"
        for path in (settings, kubelet):
            path.unlink(missing_ok=True)
        if "API server" in groups:
            settings.write_text(f"kube-apiserver-arg: {API_SERVER}\n")
        if "kubelet" in groups:
            with settings.open("a") as file:
                file.write(f"kube-controller-manager-arg: {CONTROLLERS}\n")
            kubelet.write_text(yaml.safe_dump({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **KUBELET}))
        self.node.restart("k3s")
        self.node.main.wait_until(self.node.is_ready, "the node to be Ready", timeout=180)
        self.system.installation.wait_ready()

    def enter(self, state):
        if state in UNTUNED:
            self.nothing_delivered()
            self.untune(UNTUNED[state])
        elif state == "idle":
            self.nothing_delivered()
            if self.k3s and (SETTINGS / "config.yaml.d/30-untuned.yaml").exists():
                self.untune(())
        elif state == "one":
            self.one_event_a_second()
        else:
            self.load()

    # ---- measuring

    def now(self):
        """Hours, bytes that have reached the disk, commits of its journal, events at the hub."""
        return time.monotonic() / 3600, self.disk.written(), self.disk.commits(), self.arrived()

    def measure(self, state):
        self.enter(state)
        time.sleep(self.warm_up)
        processes = DiskWrites(self.node)
        rows, processes = DatabaseRows(self.database), processes.begin()
        begun = self.now()
        time.sleep(self.seconds)
        names, keys = processes.stop(), rows.stop()
        hours, on_disk, commits, events = (end - start for end, start in zip(self.now(), begun))
        figures = {
            "state": state,
            "minutes": round(hours * 60, 1),
            "events_per_second": round(events / hours / 3600, 1),
            "bytes_per_event": self.bytes_per_event() if events else None,
            "processes_mb_per_hour": {f"{group}: {name}": round(count / hours / 1e6, 2) for (group, name), count in sorted(names.items(), key=lambda item: -item[1])},
            "all_processes_mb_per_hour": round(sum(names.values()) / hours / 1e6, 1),
            "disk_mb_per_hour": round(on_disk / hours / 1e6, 1),
            "journal_commits_per_hour": round(commits / hours),
            "database_rows_per_hour": {key: round(count / hours) for key, count in keys.items()},
            "files_mb": self.files(),
        }
        print(markdown(figures), flush=True)
        return figures

    def bytes_per_event(self):
        """Of the events at the hub as JSON, the mean of the last hundred or so."""
        bodies = [json.dumps(message["body"], separators=(",", ":")) for message in self.hub.emulator.messages(after=max(0, self.arrived() - 100))]
        return round(sum(map(len, bodies)) / len(bodies)) if bodies else None

    def files(self):
        """How large the database, the broker's files and the queue are."""
        sizes = collections.Counter()
        for path in [*self.database.parent.glob("state.db*"), *pathlib.Path("/var/lib/fieldgate/volumes").rglob("*")]:
            try:
                if path.is_file():
                    sizes[re.sub(r"\d+(?=\.blk)", "N", path.name)] += path.stat().st_size
            except OSError:
                continue
        return {name: round(size / 1e6, 2) for name, size in sizes.most_common(12)}


def markdown(figures):
    """One state as a table."""
    head = f"## {figures['state']}: {figures['minutes']} min, {figures['events_per_second']} events/s"
    if figures["bytes_per_event"]:
        head += f" of {figures['bytes_per_event']} bytes"
    lines = [head, "", "| process | MB/h |", "|---|---|"]
    lines += [f"| {name} | {rate:.1f} |" for name, rate in figures["processes_mb_per_hour"].items() if rate >= 0.05]
    lines += [f"| **all processes** | **{figures['all_processes_mb_per_hour']}** |", f"| **the disk, with journal and metadata** | **{figures['disk_mb_per_hour']}** |"]
    lines += [f"| commits of its journal per hour | {figures['journal_commits_per_hour']} |", ""]
    lines += ["| rows of the database | per hour |", "|---|---|", *(f"| {key} | {count} |" for key, count in figures["database_rows_per_hour"].items()), ""]
    return "\n".join(lines)


def span(text):
    """20m or 90s, in seconds."""
    found = re.fullmatch(r"(\d+)(s|m)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no time: write it like 90s or 20m")
    return int(found.group(1)) * {"s": 1, "m": 60}[found.group(2)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="seconds", type=span, default=span("20m"), help="how long each state is measured (default 20m)")
    parser.add_argument("--warm-up", type=span, default=WARM_UP, help=f"how long each state lasts before (default {WARM_UP}s)")
    parser.add_argument("--state", action="append", choices=STATES, help="only these states (default: all; without k3s those that change its settings are left out)")
    parser.add_argument("--features", help="another file system than the image's, to compare: what mke2fs takes after -O, as fast_commit")
    options = parser.parse_args()
    k3s = bool(os.environ.get("FIELDGATE_K3S"))
    states = options.state or [state for state in STATES if k3s or state not in UNTUNED]
    if not k3s and set(states) & set(UNTUNED):
        parser.error(f"{', '.join(UNTUNED)}: only with k3s, whose binary FIELDGATE_K3S names")
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-", ignore_cleanup_errors=True) as name:
        flash = Flash(pathlib.Path(name), options.seconds, options.warm_up, options.features)
        try:
            flash.start()
            figures = [flash.measure(state) for state in states]
        finally:
            flash.stop()
    figures = {"target_mb_per_hour_idle": TARGET_MB, "k3s": k3s, "mount_options": flash.disk.options, "features": options.features, "states": figures}
    reports.write("flash-writes", figures)
    print(json.dumps(figures))
    for state in figures["states"]:
        if state["state"] == "load" and state["events_per_second"] < 0.95 * PLANNED:
            sys.exit(f"{state['events_per_second']} events/s arrived, {PLANNED} were planned: these figures are not of the full load")


if __name__ == "__main__":
    main()
