"""The host's side of the device agent: what systemd does with fieldgate-agent.socket, here by this process."""

import os
import socket
import subprocess
import threading

from .process import program

NAME = "gate-7"
FILES = {
    "data/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "data/etc/hostname": f"{NAME}\n",
    "etc/os-release": "ID=debian\nIMAGE_VERSION=0.1.0\n",
    "proc/cmdline": "root=PARTLABEL=root-a ro rauc.slot=a quiet\n",
}
# A unit that systemd-run started, and whether it is active.
PROGRAMS = {
    "systemd-run": 'while [ "$1" != -- ]; do shift; done\nshift\n: >"$UNITS/running"\n( "$@"; rm "$UNITS/running" ) >>"$UNITS/log" 2>&1 </dev/null &\n',
    "systemctl": '[ "$1" = is-active ] && [ -e "$UNITS/running" ]\n',
}


class AgentHost:
    """A file tree of a device that runs 0.1.0, and its socket, behind which is `fieldgate agent` for each connection."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "agent.sock"
        self.root = folder / "root"
        for path, text in FILES.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        self.programs, self.units = folder / "programs", folder / "units"
        self.units.mkdir()
        self.programs.mkdir()
        for name, text in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{text}")
            (self.programs / name).chmod(0o755)
        self.listener = None

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, args=(self.listener,), daemon=True)
        self.thread.start()

    def _serve(self, listener):
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "UNITS": str(self.units)}
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, open(self.folder / "agent.log", "ab") as log:
                command = [program("fieldgate"), "agent", "--root", self.root]
                subprocess.run(command, stdin=connection, stdout=connection, stderr=log, env=environment, timeout=120)

    def log(self):
        return "".join(path.read_text() for path in (self.folder / "agent.log", self.units / "log") if path.exists())

    def stop(self):
        if self.listener is None:
            return
        # Wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        self.path.unlink()
        self.listener = None
