"""What the hub has, and what the device says it owes the hub."""

import json
import re
from collections import defaultdict

from fieldgate_testing import main_job
from fieldgate_testing.cluster import pods
from fieldgate_testing.waiting import wait_for

QUEUED = "fieldgate_iothub_module_queued_events"


def sequences(system):
    """The sequences of the PLC's events that arrived, by epoch."""
    epochs = defaultdict(set)
    for message in main_job.messages(system):
        data = message["body"]["data"]
        epochs[data["epoch"]].add(data["sequence"])
    return epochs


def gaps(system):
    """Sequences that are missing between the first and the last of each epoch that reached the hub."""
    missing = {epoch: sorted(set(range(min(found), max(found) + 1)) - found) for epoch, found in sequences(system).items()}
    return {epoch: lost for epoch, lost in missing.items() if lost}


def nothing_missing(system):
    """Waits until there are no gaps: what is missing below the highest number may be late."""

    def look():
        assert gaps(system) == {}
        return True

    wait_for(look, "what is missing at the hub", timeout=180, interval=2)


def queued(guest):
    """Events in the queue of iothub-module, by its own count."""
    pod = pods.the_pod(guest, pods.module_selector("iothub-module"))["metadata"]["name"]
    text = guest.kubectl("get", "--raw", f"/api/v1/namespaces/fieldgate/pods/{pod}:9600/proxy/metrics")
    return int(float(re.search(rf"^{QUEUED}(?:{{.*}})? (\S+)$", text, re.MULTILINE)[1]))


def settled(system, boot, stage="running"):
    """Waits until the device has started that often, works, and its telemetry arrives; returns the times of its stages."""
    times = system.guest.wait_stage(stage, boot=boot)
    after = main_job.last_index(system)
    main_job.telemetry(system, lambda data: True, after=after, timeout=300)
    return times


def slot(guest):
    return guest.ssh("sed -n 's/.*rauc.slot=\\([ab]\\).*/\\1/p' /proc/cmdline").strip()


def update_status(guest):
    return json.loads(guest.ssh("fieldgate update status --json"))
