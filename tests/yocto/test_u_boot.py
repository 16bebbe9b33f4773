"""The Raspberry Pi's boot script in U-Boot itself: Debian's for x86 in QEMU, because the parser is the same on every board. What starts a kernel and
what writes the environment says so instead; the disk is SATA's."""

import os
import pathlib
import re
import select
import subprocess
import time

import pytest

from test_boot_script import SCRIPT

U_BOOT = "/usr/lib/u-boot/qemu-x86/u-boot.rom"
QEMU = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio", "-bios", U_BOOT]
PATH = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, env=PATH, **options)


def disk(folder):
    """A card as of the Pi, with the script on its first partition and something to load in both roots."""
    script = SCRIPT.read_text().replace("mmc 0:", "scsi 0:")
    script = re.sub(r"^( *)booti .*$", r"\1echo START ${part} ${bootargs}", script, flags=re.M)
    script = re.sub(r"^reset$", "echo RESET", script, flags=re.M)
    script = script.replace("saveenv", "echo SAVED a=${BOOT_a_LEFT} b=${BOOT_b_LEFT} order=${BOOT_ORDER} good=${BOOT_GOOD}")
    (folder / "boot.cmd").write_text(script)
    run("mkimage", "-A", "x86", "-T", "script", "-C", "none", "-d", folder / "boot.cmd", folder / "boot.scr")
    boot = folder / "root/usr/lib/fieldgate/boot"
    boot.mkdir(parents=True)
    (boot / "vmlinuz").write_text("kernel")
    run("truncate", "-s", "16M", folder / "esp")
    run("mkfs.vfat", folder / "esp")
    run("mcopy", "-i", folder / "esp", folder / "boot.scr", "::")
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", folder / "root", folder / "slot", "16M")
    image = folder / "disk.img"
    run("truncate", "-s", "64M", image)
    subprocess.run(["sfdisk", "-q", image], input=b"label: gpt\n" + b"size=16MiB\n" * 3, check=True, capture_output=True, env=PATH)
    for number, part in enumerate(("esp", "slot", "slot")):
        run("dd", f"if={folder / part}", f"of={image}", "bs=1M", f"seek={1 + 16 * number}", "conv=notrunc")
    return image


class Console:
    def __init__(self, image):
        drive = ["-drive", f"file={image},format=raw,if=ide"]
        self.machine = subprocess.Popen(QEMU + drive, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.text, self.count = "", 0

    def begin(self):
        """To the prompt, with the script in memory."""
        self.wait("autoboot")
        self.machine.stdin.write(b" ")
        self.wait("=> ")
        self.machine.stdin.write(b"setenv mark done\n")
        for command in ("scsi scan", "setenv kernel_addr_r 0x2000000", "setenv fdt_addr 0x3000000", "load scsi 0:1 0x1000000 boot.scr"):
            self.say(command)

    def wait(self, wanted):
        """What the machine says up to there."""
        end = time.monotonic() + 50
        while wanted not in self.text:
            assert time.monotonic() < end, f"no {wanted!r} in:\n{self.text}"
            if select.select([self.machine.stdout], [], [], 1)[0]:
                said = self.machine.stdout.read(4096)
                assert said, f"QEMU has ended:\n{self.text}"
                self.text += said.decode(errors="replace").replace("\r", "")
        before, self.text = self.text.split(wanted, 1)
        return before

    def say(self, command):
        """What the machine answers: the line that it echoes has the variable, the answer its value."""
        self.count += 1
        self.machine.stdin.write(f"{command}; echo ${{mark}}{self.count}\n".encode())
        return self.wait(f"done{self.count}\n")

    def start(self):
        """Lines of a start up to the first kernel that is started; `booti` comes back here, and the script goes on as with one that is damaged."""
        said = self.say("source 0x1000000")
        for complaint in ("syntax error", "Unknown command", "Wrong image"):
            assert complaint not in said, said
        lines = [line.strip() for line in said.splitlines() if line.startswith(("SAVED", "START", "RESET"))]
        return lines[: next(place for place, line in enumerate(lines) if not line.startswith("SAVED")) + 1]

    def close(self):
        self.machine.kill()
        self.machine.wait()


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    console = Console(disk(pathlib.Path(tmp_path_factory.mktemp("u-boot"))))
    try:
        console.begin()
        yield console
    finally:
        console.close()


def test_u_boot_runs_it_as_the_shell_does(console):
    """One device's life, in the order of its starts; test_boot_script.py has each case by itself."""
    first = console.start()
    assert first[0] == "SAVED a=3 b=0 order=a good=a"
    assert first[-1].startswith("START 2 ") and "root=PARTLABEL=root-a rauc.slot=a ro " in first[-1]
    assert console.start() == [first[-1]], "an ordinary start writes nothing"

    console.say('setenv BOOT_ORDER "b a"; setenv BOOT_b_LEFT 3')
    # The kernel of b is never kept, and as `booti` comes back, a is started after it.
    for left in (2, 1, 0):
        saved, started = console.start()
        assert saved == f"SAVED a=3 b={left} order=b a good=a"
        assert started.startswith("START 3 ") and started.endswith("fieldgate.trial")
    assert console.start() == [first[-1]], "after three tries the good slot"

    console.say("setenv BOOT_b_LEFT 3; setenv BOOT_GOOD b")
    kept = console.start()
    assert len(kept) == 1 and kept[0].startswith("START 3 ") and "fieldgate.trial" not in kept[0]

    console.say("setenv BOOT_a_LEFT 0; setenv BOOT_b_LEFT 0")
    assert console.start() == kept, "with no try left, the good slot all the same"
    console.say("setenv BOOT_a_LEFT; setenv BOOT_b_LEFT; setenv BOOT_ORDER")
    assert console.start() == kept, "with half an environment, too"
