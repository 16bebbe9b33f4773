"""What every process of the node writes to a disk, and which rows its database takes."""

import collections
import os
import pathlib
import sqlite3
import threading

from .memory import comm, group_of
from .pods import DAPR

PROC = pathlib.Path("/proc")
# Between two looks. What a process writes after the last look at it is not seen.
PAUSE = 0.5
OTHER = "other process"


class DiskWrites:
    """Looks at every process from `begin` to `stop`. The programs that measure are no part of the node: those this process has started."""

    def __init__(self, node):
        self.node = node
        self.names = {}
        # (pid, start time) → bytes.
        self.first, self.last = {}, {}
        self._learn_names()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="disk writes", daemon=True)

    def begin(self):
        self._look(begin=True)
        self.thread.start()
        return self

    def _run(self):
        while not self.stopping.wait(PAUSE):
            self._look()

    def _look(self, begin=False):
        parents = {}
        for folder in PROC.glob("[0-9]*"):
            try:
                stat = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
                bytes_written = written(folder)
            except OSError:
                continue
            pid, key = int(folder.name), (int(folder.name), int(stat[19]))
            parents[pid] = int(stat[1])
            self.names.setdefault(pid, (OTHER, comm(folder).strip()))
            self.last[key] = bytes_written
            if begin:
                self.first[key] = bytes_written
        for pid in parents:
            if self._measures(pid, parents):
                self.names[pid] = None

    def _measures(self, pid, parents):
        """Whether a process was started by this one and is none of the node's."""
        nodes = set(self.node.processes.values())
        while pid in parents and pid not in nodes:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    def _learn_names(self):
        for namespace in ("fieldgate", DAPR, "kube-system"):
            for pod in self.node.pods(namespace):
                labels = pod["metadata"].get("labels", {})
                owner = labels.get("app.kubernetes.io/name") or labels.get("app") or labels.get("k8s-app") or pod["metadata"]["name"]
                for container, pids in self.node.pids(pod["metadata"]["name"], namespace).items():
                    name = container if container == owner else f"{owner} / {container}"
                    self.names.update({pid: (group_of(namespace, pod, container), name) for pid in pids})
        self.names.update({pid: ("node", name) for name, pid in self.node.processes.items()})

    def stop(self):
        """(group, name) → bytes since the beginning; names that wrote nothing are left out."""
        self.stopping.set()
        self.thread.join()
        self._look()
        total = collections.Counter()
        for (pid, start), count in self.last.items():
            if name := self.names.get(pid):
                total[name] += count - self.first.get((pid, start), 0)
        return {name: count for name, count in total.items() if count}


def written(process):
    """Bytes of pages that it made dirty on a disk's file system, without those it took back before they were written."""
    fields = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
    return int(fields["write_bytes"]) - int(fields["cancelled_write_bytes"])


class DatabaseRows:
    """Reads along which keys are written into the database of the API server: kine keeps one row for each write."""

    def __init__(self, path):
        self.path = path
        self.rows = collections.Counter()
        self.newest = None
        self._look()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="database rows", daemon=True)
        self.thread.start()

    def _run(self):
        # Rows live for minutes after a newer one has come.
        while not self.stopping.wait(10):
            self._look()

    def _look(self):
        database = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)
        try:
            if self.newest is None:
                (self.newest,) = database.execute("SELECT max(id) FROM kine").fetchone()
            for number, name in database.execute("SELECT id, name FROM kine WHERE id > ? ORDER BY id", (self.newest,)):
                self.newest = number
                self.rows[kind(name)] += 1
        finally:
            database.close()

    def stop(self):
        """What was written → how often."""
        self.stopping.set()
        self.thread.join()
        self._look()
        return dict(self.rows.most_common())


def kind(name):
    """A key without the object's own name, except where that tells who writes."""
    parts = name.split("/")
    if "leases" in parts or "masterleases" in parts:
        return "/".join(parts[2:5])
    return "/".join(parts[2:4]) if len(parts) > 3 else name
