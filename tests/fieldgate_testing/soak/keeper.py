"""Starts processes again when they end, as Kubernetes does with containers."""

import threading
import time
from collections import Counter

LOOK = 0.05
# A process that ended by itself waits, longer each time, unless it ran for a while.
WAIT = (1.0, 10.0)
LONG_ENOUGH = 60.0


class Keeper:
    """Starts at once; the processes are there already."""

    def __init__(self, processes):
        self.processes = processes
        now = time.monotonic()
        self.began = dict.fromkeys(processes, now)
        self.waits = dict.fromkeys(processes, WAIT[0])
        self.due = {}
        self.unasked = Counter()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.thread.start()

    def kill(self, name, back_after):
        """kill -9, and a start after so many seconds."""
        with self.lock:
            self.due[name] = time.monotonic() + back_after
            self.processes[name].kill()

    def all_run(self):
        with self.lock:
            return all(process.running() for process in self.processes.values())

    def _run(self):
        while not self.ended.wait(LOOK):
            with self.lock:
                for name, process in self.processes.items():
                    if not process.running():
                        self._look_after(name, process)

    def _look_after(self, name, process):
        now = time.monotonic()
        if name not in self.due:
            self.unasked[f"{name} ({process.process.returncode})"] += 1
            if now - self.began[name] > LONG_ENOUGH:
                self.waits[name] = WAIT[0]
            self.due[name] = now + self.waits[name]
            self.waits[name] = min(WAIT[1], self.waits[name] * 2)
        elif now >= self.due[name]:
            del self.due[name]
            self.began[name] = now
            process.start()

    def stop(self):
        self.ended.set()
        self.thread.join()
