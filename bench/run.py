"""Runs the benchmarks of scripts/bench and writes bench/results.json and bench/results.md."""

import argparse
import datetime
import json
import os
import pathlib
import platform as machine
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fieldgate_testing.emulator import Emulator  # noqa: E402
from fieldgate_testing.process import BIN, PLATFORM, Process, program  # noqa: E402

# Window: messages. Long enough that a warmed-up Node is compared; Python sends a tenth, or it would take minutes.
WINDOWS = {1: 20_000, 16: 100_000, 100: 200_000}
SIZE = 300


def last_json(command, timeout):
    """What a program says in its last line of standard output."""
    print("==", *command, file=sys.stderr)
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, timeout=timeout, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        sys.exit(f"{command[0]} printed nothing and ended with status {done.returncode}")
    return json.loads(lines[-1])


def pipeline(seconds):
    command = [program("fieldgate"), "bench", "pipeline", "--for", f"{seconds}s", "--platform-dir", PLATFORM]
    return last_json(command, seconds + 180)


def queue():
    done = subprocess.run([str(BIN / "examples" / "append_rate")], stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def clients():
    """Every client with every window, one after the other on one emulator; the best of three, because the machine is shared."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        command = [program("iothub-emulator"), "--data", folder, "--host-name", "localhost"]
        command += ["--mqtt-address", "127.0.0.1:8883", "--control-address", "127.0.0.1:0"]
        emulator = Process(command, pathlib.Path(folder) / "emulator.log")
        try:
            endpoints = pathlib.Path(folder) / "endpoints.json"
            emulator.wait_until(endpoints.exists, "the emulator to be ready")
            hub = Emulator(json.loads(endpoints.read_text()))
            for window, count in WINDOWS.items():
                for name, argv in client_commands(hub, window, count).items():
                    runs = [last_json(argv, 300) for _ in range(3)]
                    best = max(runs, key=lambda run: run["rate"])
                    rows.append({"client": name, "window": window, **best, "cpu_us_per_message": best["cpu_seconds"] / best["messages"] * 1e6})
        finally:
            emulator.stop()
    return rows


def client_commands(hub, window, count):
    connection = hub.create(f"bench-{window}")["connectionString"]
    sdk = ROOT / "bench" / "sdk"
    own = [BIN / "examples" / "send_rate", "--connection-string", connection, "--ca", hub.ca_file, "--port", hub.mqtt_port]
    fixed = [connection, hub.ca_file, count, SIZE, window]
    fewer = [connection, hub.ca_file, count // 10, SIZE, window]
    return {
        "Fieldgate iothub-client": own + ["--count", count, "--size", SIZE, "--window", window],
        "azure-iot-device (Node)": ["node", sdk / "rate.js", *fixed],
        "azure-iot-device (Python, asyncio)": [sys.executable, sdk / "rate.py", *fewer],
    }


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def report(results):
    flow = results["pipeline"]
    processes = [
        (name, f"{flow['cpu_s_per_million_points'][name]:.2f}", f"{flow['pss_kib'][name] / 1024:.1f}") for name in sorted(flow["pss_kib"])
    ]
    flow_rows = [(key, value) for key, value in flow.items() if not isinstance(value, (dict, list))]
    client_rows = [
        (row["window"], row["client"], f"{row['rate']:,.0f}", f"{row['cpu_us_per_message']:.0f}", f"{row['rate'] / node_rate(results, row):.1f}")
        for row in results["clients"]
    ]
    rates = [row for row in results["queue"] if "items_per_second" in row]
    queue_rows = [(row["measurement"], row["batch"], row.get("callers", ""), row.get("with_appends", ""), f"{row['items_per_second']:,.0f}") for row in rates]
    wear_rows = [
        ("away" if row["round_trip_ms"] is None else row["round_trip_ms"], row["counted_per_payload_byte"], row["written_per_payload_byte"])
        for row in results["queue"]
        if row["measurement"] == "wear"
    ]
    return f"""# Benchmark results

Written by `scripts/bench` on {results["date"]}; {results["machine"]}. Single run of a shared machine: ratios inside one table mean something, absolute rates less.

## Reader → Dapr → queue → IoT Hub emulator

Everything on one machine, simulator and emulator included; figures of single processes are their own.

{table(["", ""], flow_rows)}

CPU microseconds per point (the same as CPU seconds per million points) and memory (PSS) at the end:

{table(["process", "CPU µs/point", "PSS MiB"], processes)}

## Durable queue (every append synced before it is confirmed)

{table(["measurement", "batch", "callers", "appends go on", "items/s"], queue_rows)}

Bytes to the disk per payload byte at 2,000 items/s, by when each is removed; the whole system: [delivery.md](delivery.md).

{table(["round trip ms", "counted", "written"], wear_rows)}

## Clients on one emulator, {SIZE}-byte messages, QoS 1, TLS

{table(["window", "client", "messages/s", "CPU µs/message", "times Node"], client_rows)}
"""


def node_rate(results, row):
    return next(other["rate"] for other in results["clients"] if other["window"] == row["window"] and "Node" in other["client"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="seconds", default="300s", help="how long the pipeline runs (default 300s)")
    parser.add_argument("--only", choices=["clients", "queue", "pipeline"], help="measure one part and keep the others of bench/results.json")
    options = parser.parse_args()
    seconds = int(options.seconds.removesuffix("s"))
    kept = json.loads((ROOT / "bench" / "results.json").read_text()) if options.only else {}
    parts = {"clients": clients, "queue": queue, "pipeline": lambda: pipeline(seconds)}
    results = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {machine.machine()}, Linux {machine.release().split('-')[0]}",
        **{name: measure() if options.only in (None, name) else kept[name] for name, measure in parts.items()},
    }
    (ROOT / "bench" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "bench" / "results.md").write_text(report(results))
    print((ROOT / "bench" / "results.md").read_text())


if __name__ == "__main__":
    main()
