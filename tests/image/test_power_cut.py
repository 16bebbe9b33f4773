"""The power fails: while the device starts, works, and is updated. It starts again every time, into one system or the other, and what its queue had taken
reaches the hub.

FIELDGATE_POWER_CUTS says how often (scripts/soak power-cuts); FIELDGATE_SEED repeats a series."""

import os
import pathlib
import random
import time

import pytest

from fieldgate_testing import main_job
from fieldgate_testing.cluster import reports
from fieldgate_testing.image.download import Server
from fieldgate_testing.image.evidence import gaps, queued, sequences, settled, slot, update_status
from fieldgate_testing.waiting import wait_for

CUTS = int(os.environ.get("FIELDGATE_POWER_CUTS", "3"))
SEED = int(os.environ.get("FIELDGATE_SEED", str(time.time_ns() % 10**6)))
# Seconds from switching it on until everything runs, and from asking for an update until it is installed, about.
START = 200
INSTALLATION = 300


def while_starting(system, _, chance):
    """Anywhere between the firmware and the first telemetry."""
    # A time and no condition: the power waits for nothing.
    time.sleep(chance.uniform(3, START))
    return {}


def while_working(system, _, chance):
    """With the hub away, so that the queue is all there is; what it holds is noted down just before."""
    guest = system.guest
    settled(system, len(guest.stages()))
    epoch = main_job.messages(system)[-1]["body"]["data"]["epoch"]
    system.hub.fault("down", seconds=START)
    wanted = chance.randint(3, 15)
    held = wait_for(lambda: (count := queued(guest)) >= wanted and count, "events in the queue", timeout=120, interval=0.2)
    return {"epoch": epoch, "held": held, "arrived": len(sequences(system)[epoch]), "index": main_job.last_index(system)}


def while_updating(system, url, chance):
    """Anywhere between asking for an update to the same system and a while after it is installed."""
    guest = system.guest
    settled(system, len(guest.stages()))
    # One that the cut before has just installed is on trial, and no other is taken until it is kept or given up.
    wait_for(lambda: not on_trial(guest), "the update before to be kept or given up", timeout=900, interval=5)
    guest.ssh(f"systemd-run --collect --unit=update fieldgate update install {url} --reinstall --no-reboot")
    # A time and no condition, as above.
    time.sleep(chance.uniform(1, INSTALLATION))
    last = update_status(guest)["last"]
    return {"update": last and last["result"]}


def on_trial(guest):
    return "+" in guest.ssh("ls /efi/loader/entries")


def all_that_was_held(system, noted):
    """Whether as many events of that epoch have arrived as the queue held; what it held of other kinds does not count."""
    later = system.hub.messages(after=noted["index"], device=main_job.DEVICE)
    others = sum(1 for message in later if message["body"].get("subject") != main_job.SUBJECT)
    return len(sequences(system)[noted["epoch"]]) >= noted["arrived"] + noted["held"] - others


def cut(system, url, chance, moment):
    noted = moment(system, url, chance)
    system.guest.stop()
    at = system.guest.stages()[-1] if system.guest.stages() else {}
    system.guest.start()
    return {"moment": moment.__name__, "last_stage": list(at)[-1] if at else "firmware", **noted}


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
    for number in range(CUTS):
        cuts.append(cut(system, update, chance, MOMENTS[number % len(MOMENTS)]))
        with capsys.disabled():
            print(f"\npower cut {number + 1} of {CUTS} (seed {SEED}): {cuts[-1]}", flush=True)
        boot = len(guest.stages()) + 1
        wait_for(lambda: len(guest.stages()) >= boot, "the kernel to start", timeout=120, interval=0.5)
        if "held" in cuts[-1]:
            settled(system, boot)
            wait_for(lambda: all_that_was_held(system, cuts[-1]), "what the queue held to arrive", timeout=300, interval=2)
    settled(system, len(guest.stages()))
    assert gaps(system) == {}
    wait_for(lambda: not on_trial(guest), "the last update to be kept or given up", timeout=900, interval=5)
    entries = guest.ssh("ls /efi/loader/entries; findmnt -n -o OPTIONS /efi")
    assert "ro" in entries and ".new" not in entries
    assert guest.ssh("rauc status --output-format=shell | grep -c '^RAUC_BOOT_PRIMARY'").strip() == "1"
    now = update_status(guest)
    assert now["booted"] == slot(guest) and not now.get("errors"), now
    assert now["last"] is None or now["last"]["result"] in ("confirmed", "failed"), now
    assert guest.ssh("systemctl list-units --failed --plain --no-legend") == ""
    path = reports.write("image-power-cuts", {"seed": SEED, "cuts": cuts, "missing": 0})
    with capsys.disabled():
        print(f"\n{len(cuts)} power cuts, missing 0 (kept in {path})")
