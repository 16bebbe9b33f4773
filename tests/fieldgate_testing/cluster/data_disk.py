"""A file system of its own for what a device keeps on its partition `data`, so that what reaches the disk can be counted."""

import pathlib
import subprocess

from fieldgate_testing.process import ROOT

SECTOR = 512
# For systemd only.
NOT_FOR_MOUNT = ("x-systemd.", "nofail")


def mount_options():
    """Those of the image's own fstab for /data."""
    for line in (ROOT / "image/rootfs/etc/fstab").read_text().splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[1] == "/data":
            return [option for option in fields[3].split(",") if not option.startswith(NOT_FOR_MOUNT)]
    raise AssertionError("image/rootfs/etc/fstab has no /data")


class DataDisk:
    """`folder` holds the disk's file and where it is mounted. Ends with the mount namespace it was made in."""

    def __init__(self, folder, features=None, mebibytes=4096):
        self.file, self.mounted = folder / "disk", folder / "data"
        self.mounted.mkdir(parents=True)
        with self.file.open("wb") as disk:
            disk.truncate(mebibytes << 20)
        # As image/reference/make-ext4 makes it.
        more = ["-O", features] if features else []
        run("mke2fs", "-q", "-F", "-t", "ext4", *more, "-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "1", "-J", "size=32", self.file)
        self.options = mount_options()
        run("mount", "-o", ",".join(["loop", *self.options]), self.file, self.mounted)
        device = pathlib.Path(run("findmnt", "-n", "-o", "SOURCE", self.mounted).strip()).name
        self.statistics = pathlib.Path("/sys/block", device, "stat")
        self.journal = pathlib.Path("/proc/fs/jbd2", f"{device}-8", "info")

    def hold(self, path):
        """From now on what is below `path` is on this disk. Empty at first."""
        place = self.mounted / str(path).lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        path.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", place, path)

    def written(self):
        """Bytes that have reached the disk, with journal and metadata, once what waits in memory is written."""
        run("sync", "--file-system", self.mounted)
        return int(self.statistics.read_text().split()[6]) * SECTOR

    def commits(self):
        """How many times its journal was written; every fsync of a file that changed is one."""
        return int(self.journal.read_text().split(" ", 1)[0])


def in_memory(path):
    """As the image has it: gone with the power, no write to the disk."""
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr.strip()}"
    return done.stdout
