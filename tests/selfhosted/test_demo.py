"""scripts/demo's promises: everything that was accepted arrives, whatever is killed."""

import json
import subprocess

from fieldgate_testing.process import PLATFORM, program


def demo(*options, timeout):
    command = [program("fieldgate"), "demo", "--plain", "--platform-dir", str(PLATFORM), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    told = done.stderr[-6000:]
    lines = done.stdout.splitlines()
    assert lines, f"the demo printed nothing (status {done.returncode})\n{told}"
    return done.returncode, json.loads(lines[-1]), told


def test_thirty_seconds_of_the_plant_arrive_whole_and_exact():
    status, summary, told = demo("--for", "30s", timeout=120)
    assert status == 0, f"{summary}\n{told}"
    assert summary["events_delivered"] >= 800 and summary["missing"] == 0 and summary["values_wrong"] == 0
    assert summary["values_checked"] > 5_000


def test_nothing_is_missing_after_every_process_was_killed_and_the_hub_was_away():
    status, summary, told = demo("--for", "180s", "--chaos", timeout=400)
    assert status == 0, f"{summary}\n{told}"
    assert summary["missing"] == 0 and summary["values_wrong"] == 0
    assert summary["chaos"]["healed"] == summary["chaos"]["planned"], f"{summary}\n{told}"
