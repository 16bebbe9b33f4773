"""Units and what is switched on: what systemd itself says of them, and the same choice as in the reference image."""

import pathlib
import re
import shutil
import subprocess

import pytest

from layers import IMAGE, YOCTO

HOST = YOCTO / "meta-fieldgate/recipes-fieldgate/fieldgate-host/files"
BOARD = YOCTO / "meta-fieldgate-bsp/dynamic-layers/raspberrypi/recipes-bsp/fieldgate-board-raspberrypi/files"
SYSTEM = IMAGE / "rootfs/usr/lib/systemd/system"
UNITS = sorted([*SYSTEM.glob("*.*"), *(IMAGE / "k3s/systemd").glob("*.service"), *BOARD.glob("*.service")])

# What the machine that runs the tests does not have, and a device does.
ABSENT = (
    r"Command .* is not executable: No such file or directory",
    r"Failed to (add|load|create) .*(ssh|sshd|systemd-networkd-wait-online@|systemd-bless-boot|network-pre)",
    r"Unit (ssh|sshd|k3s|k3s-agent|systemd-\S+|fieldgate-\S+)\.(service|target) not found",
)


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=50, **options)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.is_file()], ids=lambda unit: unit.name)
def test_systemd_accepts_it(unit, tmp_path):
    """Each with the others beside it; a template as one of its instances."""
    for file in UNITS:
        if file.is_file():
            shutil.copy(file, tmp_path)
    wanted = unit.name.replace("@.", "@eth0.")
    if wanted != unit.name:
        shutil.copy(unit, tmp_path / wanted)
    found = run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / wanted])
    complaints = [line for line in found.stderr.splitlines() if line and not any(re.search(one, line) for one in ABSENT)]
    assert not complaints, "\n".join(complaints)


def here():
    """image/reference/units in Yocto's names: verb and unit."""
    text = run(["sed", "-E", "-f", HOST / "units.sed", IMAGE / "reference/units"], check=True).stdout
    return [tuple(line.split()) for line in text.splitlines()]


def test_what_is_switched_on_is_there():
    ours = {file.name for file in UNITS}
    verbs = {}
    for verb, unit in here():
        assert verb in ("enable", "disable", "mask"), f"{verb} {unit}: fieldgate-host.bb does not know that verb"
        assert verbs.setdefault(unit, verb) == verb, f"{unit} stands twice"
        if verb == "enable" and unit.startswith(("fieldgate-", "k3s")):
            assert unit in ours, f"{unit} is switched on and nowhere"
    assert ("enable", "sshd.service") in here() and not any(unit == "ssh.service" for _, unit in here())
    for unit in ("getty@.service", "serial-getty@.service"):
        assert verbs[unit] == "mask", "a login on the console"


def test_every_unit_of_ours_is_switched_on_or_started_by_another():
    switched = {unit for _, unit in here()}
    everything = "\n".join(file.read_text() for file in (IMAGE / "rootfs").rglob("*") if file.is_file() and not file.is_symlink())
    everything += "\n".join(file.read_text() for file in BOARD.iterdir())
    for file in UNITS:
        if file.is_file() and file.suffix == ".service":
            mentioned = len(re.findall(re.escape(file.name.removesuffix(".service").removesuffix("@")), everything)) > 0
            timed = file.with_suffix(".timer").name in switched
            assert file.name in switched or mentioned or timed, f"nothing starts {file.name}"


def test_whatever_is_not_named_stays_off():
    preset = [line for line in (HOST / "50-yocto.preset").read_text().splitlines() if line and line[0] != "#"]
    assert preset[-1] == "disable *"
    assert all(line.startswith("enable ") for line in preset[:-1])


def test_the_pis_watchdog_can_count_that_far():
    """15 s is its limit: with more, systemd says so and the watchdog stays off."""
    text = (BOARD / "20-raspberrypi.conf").read_text()
    assert {int(value) for value in re.findall(r"WatchdogSec=(\d+)s$", text, re.M)} == {15}
    others = [file.name for file in (IMAGE / "rootfs/usr/lib/systemd/system.conf.d").iterdir()]
    assert all(name < "20-raspberrypi.conf" for name in others), "a later file would win"


@pytest.mark.parametrize("line, pulled_in", [("root=x fieldgate.trial quiet", True), ("root=x quiet", False), ("x=fieldgate.trial", False)])
def test_only_a_try_has_to_pass_the_gate(tmp_path, line, pulled_in):
    (tmp_path / "cmdline").write_text(line + "\n")
    script = (BOARD / "fieldgate-trial-generator").read_text().replace("/proc/cmdline", str(tmp_path / "cmdline"))
    run(["sh", "-c", script, "generator", tmp_path / "normal", tmp_path / "early", tmp_path / "late"], check=True)
    link = tmp_path / "normal/basic.target.wants/fieldgate-keep-slot.service"
    assert link.is_symlink() == pulled_in
    if pulled_in:
        assert pathlib.Path(link.readlink()).name in {file.name for file in UNITS}


@pytest.mark.parametrize("script", [file for file in BOARD.iterdir() if file.read_text().startswith("#!/bin/sh")], ids=lambda file: file.name)
def test_scripts_parse(script):
    run(["sh", "-n", script], check=True)


def test_a_good_slot_is_told_to_rauc_before_u_boot(tmp_path):
    """In the other order, a power cut in between would leave a slot without tries as the good one."""
    for name in ("rauc", "fw_setenv"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "cmdline").write_text("root=PARTLABEL=root-b rauc.slot=b ro fieldgate.trial\n")
    script = (BOARD / "fieldgate-keep-slot").read_text().replace("/proc/cmdline", str(tmp_path / "cmdline"))
    run(["sh", "-c", script], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (tmp_path / "calls").read_text().splitlines() == ["rauc status mark-good booted", "fw_setenv BOOT_GOOD b"]
