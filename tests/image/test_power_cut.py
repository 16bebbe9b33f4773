"""The power fails: while the device starts, works, and is updated. It starts again every time, into one system or the other, and what its queue had taken
reaches the hub.

FIELDGATE_POWER_CUTS says how often (scripts/soak power-cuts), FIELDGATE_POWER_CUTS_FOR how many seconds at most; FIELDGATE_SEED repeats a series."""

import datetime
import os
import pathlib
import random
import re
import time

import pytest

from fieldgate_testing import main_job
from fieldgate_testing.cluster import reports
from fieldgate_testing.image.download import Server
from fieldgate_testing.image.evidence import nothing_missing, queued, sequences, settled, slot, update_status
from fieldgate_testing.waiting import wait_for

CUTS = int(os.environ.get("FIELDGATE_POWER_CUTS", "3"))
SECONDS = float(os.environ.get("FIELDGATE_POWER_CUTS_FOR", "inf"))
SEED = int(os.environ.get("FIELDGATE_SEED", str(time.time_ns() % 10**6)))
# Seconds from switching it on until everything runs, and from asking for an update until it is installed, about.
START = 200
INSTALLATION = 300


def while_starting(system, _, chance):
    """Anywhere between the firmware and the first telemetry."""
    guest = system.guest
    boot = len(guest.stages())
    # The cut before was waited out: it starts anew, by another one.
    if "running" in guest.stages()[-1]:
        guest.stop()
        guest.start()
        boot += 1
    # A time and no condition: the power waits for nothing.
    time.sleep(chance.uniform(3, START))
    return {"last_stage": list(guest.stages()[-1])[-1] if len(guest.stages()) >= boot else "firmware"}


def while_working(system, _, chance):
    """With the hub away, so that the queue is all there is; what it holds is noted down just before."""
    guest, begun = system.guest, datetime.datetime.now(datetime.timezone.utc)
    settled(system, len(guest.stages()))
    # What has arrived may be of the start before; the epoch of this one is to be known.
    main_job.telemetry(system, lambda data: datetime.datetime.fromisoformat(data["timestamp"]) > begun, timeout=300)
    system.hub.fault("down", seconds=START)
    wanted = chance.randint(3, 15)
    held = wait_for(lambda: (count := queued(guest)) >= wanted and count, "events in the queue", timeout=120, interval=0.2)
    return {"held": held, "index": main_job.last_index(system), "epochs": sorted(sequences(system))}


def while_updating(system, url, chance):
    """Anywhere between asking for an update to the same system and a while after it is installed."""
    guest = system.guest
    settled(system, len(guest.stages()))
    # One that the cut before has just installed is on trial, and no other is taken until it is kept or given up.
    wait_for(lambda: not on_trial(guest), "the update before to be kept or given up", timeout=900, interval=5)
    # Tests before this one may have installed a newer one.
    guest.ssh(f"systemd-run --collect --unit=update fieldgate update install {url} --reinstall --allow-downgrade --no-reboot")
    # A time and no condition, as above.
    time.sleep(chance.uniform(1, INSTALLATION))
    last = update_status(guest)["last"]
    return {"update": last and last["result"]}


def on_trial(guest):
    """Whether the running system is still to be kept, or another one is still to be tried. One without a try left is neither: it was given up, or the power
    failed while it was written."""
    entries = guest.ssh("ls /efi/loader/entries")
    return f"fieldgate-{slot(guest)}.conf" not in entries.split() or re.search(r"\+[1-9]", entries) is not None


def all_that_was_held(system, noted):
    """Whether as many messages have arrived since as the queue held, without what was read after the cut. One that the hub had already, and whose
    acknowledgement was lost with the hub, comes again and was in the queue."""
    later = system.hub.messages(after=noted["index"], device=main_job.DEVICE)
    new = [one for one in later if one["body"].get("subject") == main_job.SUBJECT and one["body"]["data"]["epoch"] not in noted["epochs"]]
    return len(later) - len(new) >= noted["held"]


def cut(system, url, chance, moment):
    noted = moment(system, url, chance)
    system.guest.stop()
    last_stage = list(system.guest.stages()[-1])[-1]
    system.guest.start()
    return {"moment": moment.__name__, "last_stage": last_stage, **noted}


# Most cuts of a series while it starts or works, where a plant's power fails most; every fifth while it is updated.
MOMENTS = (while_working, while_starting, while_updating, while_starting, while_working)


@pytest.fixture
def update(tmp_path):
    """The address of the bundle that belongs to the image."""
    bundle = pathlib.Path(os.environ["FIELDGATE_UPDATE"])
    (tmp_path / bundle.name).symlink_to(bundle)
    server = Server(tmp_path)
    yield server.url(bundle)
    server.close()


def test_it_starts_again_after_every_power_cut_and_nothing_is_lost(system, update, capsys):
    guest, chance, cuts = system.guest, random.Random(SEED), []
    end = time.monotonic() + SECONDS
    for number in range(CUTS):
        if time.monotonic() >= end:
            break
        noted = cut(system, update, chance, MOMENTS[number % len(MOMENTS)])
        cuts.append({key: value for key, value in noted.items() if key not in ("index", "epochs")})
        with capsys.disabled():
            print(f"\npower cut {number + 1} of {CUTS} (seed {SEED}): {cuts[-1]}", flush=True)
        boot = len(guest.stages()) + 1
        wait_for(lambda: len(guest.stages()) >= boot, "the kernel to start", timeout=120, interval=0.5)
        if "held" in noted:
            settled(system, boot)
            wait_for(lambda: all_that_was_held(system, noted), "what the queue held to arrive", timeout=300, interval=2)
    settled(system, len(guest.stages()))
    nothing_missing(system)
    wait_for(lambda: not on_trial(guest), "the last update to be kept or given up", timeout=900, interval=5)
    # What marked the slot as good may not be through.
    wait_for(lambda: "ro" in guest.ssh("findmnt -n -o OPTIONS /efi").strip().split(","), "the boot partition to be read-only", timeout=60, interval=1)
    assert ".new" not in guest.ssh("ls /efi/loader/entries")
    assert guest.ssh("rauc status --output-format=shell | grep -c '^RAUC_BOOT_PRIMARY'").strip() == "1"
    now = update_status(guest)
    assert now["booted"] == slot(guest) and not now.get("errors"), now
    assert now["last"] is None or now["last"]["result"] in ("confirmed", "failed"), now
    assert guest.ssh("systemctl list-units --failed --plain --no-legend") == ""
    path = reports.write("image-power-cuts", {"seed": SEED, "cuts": cuts, "missing": 0})
    with capsys.disabled():
        print(f"\n{len(cuts)} power cuts, missing 0 (kept in {path})")
