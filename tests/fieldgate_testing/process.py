"""A program under test as a child process with a log file."""

import os
import pathlib
import signal
import socket
import subprocess

from .waiting import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("FIELDGATE_BIN_DIR", ROOT / "target" / "debug"))
PLATFORM = pathlib.Path(os.environ.get("FIELDGATE_PLATFORM_DIR", ROOT / "target" / "platform"))


def program(name):
    """One of our own programs; the error says how to build it."""
    path = BIN / name
    assert path.exists(), f"{path} is not built: run scripts/test, or cargo build and set FIELDGATE_BIN_DIR"
    return str(path)


def platform(name):
    variable = {"fieldgate-dapr": "FIELDGATE_DAPRD", "nats-server": "FIELDGATE_NATS_SERVER"}[name]
    path = pathlib.Path(os.environ.get(variable) or PLATFORM / name)
    assert path.exists(), f"{path} is not built: run scripts/test, or scripts/demo once"
    return [str(path)] + (["daprd"] if path.name == "fieldgate-dapr" else [])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """Starts at once; `stop` ends it and only it (with the children it left in its own group)."""

    def __init__(self, command, log_path, env=None, cwd=None, typed_at=False):
        """`typed_at`: `type` writes to its standard input."""
        self.stdin = subprocess.PIPE if typed_at else subprocess.DEVNULL
        self.command = [str(part) for part in command]
        self.log_path = pathlib.Path(log_path)
        self.env = {**os.environ, **(env or {})}
        self.cwd = cwd
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=self.stdin, stdout=log, stderr=log, env=self.env, cwd=self.cwd, start_new_session=True
            )

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def running(self):
        return self.process.poll() is None

    def wait_until(self, condition, what, timeout=30):
        """Waits for the condition, and fails at once with the log's tail when the process ends meanwhile."""

        def check():
            assert_running = self.running() or condition()
            if not assert_running:
                raise RuntimeError(f"{self.command[0]} ended with status {self.process.returncode} before {what}\n{self.log_tail()}")
            return condition()

        try:
            return wait_for(check, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.command[0]} says:\n{self.log_tail()}") from None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self):
        return self.log()[-4000:]

    def kill(self):
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, grace=15):
        """SIGTERM, then SIGKILL after the grace; returns the exit status."""
        if self.running():
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
