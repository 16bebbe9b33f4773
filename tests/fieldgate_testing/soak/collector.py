"""Reads what arrives at the hub while it arrives, in a thread of its own."""

import json
import threading

from ..emulator import ControlError

PAUSE = 0.2


class Collector:
    """Starts at once. While it is paused the emulator keeps what comes in its file."""

    def __init__(self, hub, arrivals):
        self.hub, self.arrivals = hub, arrivals
        self.after = 0
        self.failure = None
        self.ended, self.reads = threading.Event(), threading.Event()
        self.reads.set()
        self.thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while not self.ended.is_set():
                self.reads.wait()
                if not self._read():
                    self.ended.wait(PAUSE)
        except Exception as error:  # told where the run looks, not in a thread that nobody sees
            self.failure = error

    def _read(self):
        try:
            lines = self.hub.page(self.after)
        except (OSError, ControlError):
            return False
        for line in lines:
            message = json.loads(line)
            self.arrivals.take(message)
            self.after = message["index"]
        return bool(lines)

    def check(self):
        if self.failure:
            raise self.failure

    def stop(self):
        self.ended.set()
        self.reads.set()
        self.thread.join()
