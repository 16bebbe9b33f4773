"""A peer program that reports events as JSON lines on standard output and ends when its standard input closes."""

import json
import queue
import subprocess
import threading


class Peer:
    def __init__(self, command, log_path):
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self.events = queue.Queue()

    def __enter__(self):
        self.log = open(self.log_path, "w", encoding="utf-8")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def next(self, name, where=lambda event: True, ignore=frozenset(), timeout=30):
        """The next event of that name; events of other names before it are an error unless they are to be ignored."""
        while True:
            try:
                event = self.events.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"{self.command[0]} did not report '{name}' within {timeout} s\n{self._log()}") from None
            if event is None:
                raise AssertionError(f"{self.command[0]} ended (status {self.process.wait()}) before it reported '{name}'\n{self._log()}")
            if event["event"] == name:
                if where(event):
                    return event
            elif event["event"] not in ignore:
                raise AssertionError(f"expected '{name}', the peer reported {event}\n{self._log()}")

    def _log(self):
        self.log.flush()
        return open(self.log_path, encoding="utf-8").read()[-4000:]

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            self.process.stdout.close()
            self.log.close()
