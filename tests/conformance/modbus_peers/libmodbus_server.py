"""The libmodbus server (libmodbus_server.c), compiled when it is needed."""

import pathlib
import shlex
import subprocess

from fieldgate_testing.process import free_ports

SOURCE = pathlib.Path(__file__).with_suffix(".c")
LETTER = {"coil": "c", "discrete-input": "d", "holding-register": "h", "input-register": "i"}


def build(folder):
    """Compiles the server with the installed libmodbus and returns the program."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], check=True, capture_output=True, text=True).stdout
    program = folder / "libmodbus_server"
    command = ["gcc", "-O1", "-Wall", "-Werror", str(SOURCE), "-o", str(program), *shlex.split(flags)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"
    return program


class LibmodbusServer:
    """One unit, on TCP or on a serial line. Addresses that are not in the image hold 0. Starts at once."""

    def __init__(self, program, image, unit, serial_path=None):
        self.port = None if serial_path else free_ports(1)[0]
        where = ["rtu", serial_path] if serial_path else ["tcp", self.port]
        self.command = [str(part) for part in [program, *where, unit]]
        self.image = image
        self._start()

    def _start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for table, cells in self.image.items():
            for address, value in cells.items():
                self._send(f"set {LETTER[table]} {address} {int(value)}")
        assert self._ask("ready") == "ready", f"{self.command} did not start"

    def restart(self):
        self.close()
        self._start()

    def _send(self, line):
        self.process.stdin.write(line + "\n")

    def _ask(self, line):
        self._send(line)
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def get(self, table, address, count=1):
        return [int(number) for number in self._ask(f"get {LETTER[table]} {address} {count}").split()]

    def set(self, table, address, values):
        for offset, value in enumerate(values):
            self._send(f"set {LETTER[table]} {address + offset} {int(value)}")
        self._ask("ready")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
