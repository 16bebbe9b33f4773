"""iothub-module with a source in the place of its sidecar (modules/iothub-module/examples/self_fed.rs), as a process."""

import contextlib
import json
import os
import pathlib
import re
import time

from fieldgate_testing.process import BIN, Process, free_ports
from fieldgate_testing.sidecar import call
from fieldgate_testing.soak.figures import Figures
from fieldgate_testing.soak.memory import pss_kb

BUCKET = re.compile(r'^fieldgate_iothub_module_puback_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
# Nothing reaches the hub for so long: the rest does not come any more.
STUCK = 60.0
TICK = 0.02


class SelfFed:
    """One identity and one queue; `start` and `stop` as often as wanted."""

    def __init__(self, folder, hub, device, event_bytes):
        self.folder, self.hub, self.event_bytes = folder, hub, event_bytes
        folder.mkdir()
        (folder / "connection-string").write_text(hub.create(device)["connectionString"])
        self.process = None

    def start(self, window, port):
        """With at most `window` messages in flight, and the hub at this port."""
        self.ops_port, app_port = free_ports(2)
        document = {
            "hub": {
                "connection_string_file": str(self.folder / "connection-string"),
                "host": "localhost",
                "port": port,
                "ca_file": self.hub.ca_file,
                "window": window,
            },
            "queue": {"path": str(self.folder / "queue.db"), "max_bytes": "1GiB", "when_full": "reject"},
            "subscriptions": [{"pubsub": "source", "topic": "telemetry"}],
        }
        (self.folder / "module.yaml").write_text(json.dumps(document))
        environment = {
            "FIELDGATE_CONFIG": str(self.folder / "module.yaml"),
            "FIELDGATE_APPLIANCE": "bench",
            "FIELDGATE_APP_PORT": str(app_port),
            "FIELDGATE_OPS_ADDRESS": f"127.0.0.1:{self.ops_port}",
            "SELF_FED_BYTES": str(self.event_bytes),
        }
        self.process = Process([example("self_fed")], self.folder / "module.log", env=environment, typed_at=True)
        self.figures = Figures(self, "fieldgate_iothub_module_")
        self.process.wait_until(self.figures.look, "the module to answer")

    def ops(self, path, timeout=5):
        return call("GET", f"http://127.0.0.1:{self.ops_port}{path}", timeout=timeout)

    def make(self, total):
        """So many events since the start."""
        self.process.type(f"{total}\n")

    def fill(self, count):
        """The queue with so many events and nothing else; the module is stopped then."""
        for path in self.folder.glob("queue.db*"):
            path.unlink()
        # Nobody listens there.
        (nowhere,) = free_ports(1)
        self.start(1, nowhere)
        self.make(count)
        self.process.wait_until(lambda: self.figures.look() and self.figures["queued_events"] >= count, f"{count} events in the queue", timeout=300)
        self.stop()

    def wait_connected(self):
        self.process.wait_until(lambda: self.figures.look() and self.figures["connected"], "the module to be connected")

    def cpu_seconds(self):
        """Of the module, without its source."""
        folder = pathlib.Path(f"/proc/{self.process.process.pid}")
        source = 0
        for thread in (folder / "task").iterdir():
            # Others come and go.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (thread / "comm").read_text().strip() == "source":
                    source += ticks(thread / "stat")
        return (ticks(folder / "stat") - source) * TICK_SECONDS

    def follow(self, count, before=None, meanwhile=lambda arrived: None, enough=lambda arrived: False):
        """Until so many more messages are at the hub than `before` (now), or it is enough: samples of time, messages and processor time."""
        before, samples, moved = self.hub.count() if before is None else before, [], time.monotonic()
        while True:
            arrived = self.hub.count() - before
            samples.append((time.monotonic(), arrived, self.cpu_seconds()))
            if arrived >= count or enough(arrived):
                return samples
            if len(samples) == 1 or arrived != samples[-2][1]:
                moved = time.monotonic()
            if time.monotonic() > moved + STUCK:
                raise AssertionError(f"{arrived} of {count} messages are at the hub, and no more come\n{self.process.log_tail()}")
            meanwhile(arrived)
            time.sleep(TICK)

    def line(self):
        """What the module tells of the line since its start: the window now, and how long confirmations took, in milliseconds."""
        self.process.wait_until(self.figures.look, "the module's figures")
        _, text = self.ops("/metrics", timeout=30)
        bounds = [(float(bound.replace("+Inf", "inf")), float(count)) for bound, count in BUCKET.findall(text)]
        return {
            "window_reached": self.figures["window_messages"],
            "puback_ms_p50": quantile_ms(bounds, 0.5),
            "puback_ms_p99": quantile_ms(bounds, 0.99),
            "pss_mib": round((pss_kb(self.process.process.pid) or 0) / 1024, 1),
        }

    def stop(self):
        if self.process and self.process.running() and self.process.stop():
            raise AssertionError(f"the module ended with status {self.process.process.returncode}\n{self.process.log_tail()}")


def example(name):
    path = BIN / "examples" / name
    assert path.exists(), f"{path} is not built: cargo build --release --examples, and set FIELDGATE_BIN_DIR"
    return path


def ticks(stat):
    """User and system time (proc(5)); the name may hold spaces and ends at the last parenthesis."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def rate(samples):
    """Messages per second and processor time of one in microseconds, from the first sample to the last."""
    (begun, first, cpu), (ended, last, cpu_then) = samples[0], samples[-1]
    if last == first:
        raise AssertionError(f"no message between {begun:.2f} and {ended:.2f}: {len(samples)} samples")
    return {"rate": round((last - first) / (ended - begun)), "cpu_us_per_message": round((cpu_then - cpu) / (last - first) * 1e6, 1)}


def steady(samples, count):
    """Those between a fifth and nine tenths of the messages: without beginning and end."""
    return [sample for sample in samples if 0.2 * count <= sample[1] <= 0.9 * count]


def quantile_ms(bounds, share):
    """From a histogram's buckets (upper bound in seconds, count so far), linear within one. None without anything or beyond the last."""
    wanted = share * bounds[-1][1] if bounds else 0
    lower, below = 0.0, 0.0
    for bound, count in bounds:
        if wanted and count >= wanted:
            return None if bound == float("inf") else round((lower + (bound - lower) * (wanted - below) / (count - below)) * 1000, 2)
        lower, below = bound, count
    return None


