"""Run as a program: tries to open a device as a process of a container would. Prints a JSON object.

Container images here have no shell and no tools, so this program of the host goes in: it takes the container's device rules (its control
group) and mounts, and then its user.
"""

import ctypes
import errno
import json
import os
import pathlib
import stat
import sys

USER = 65532
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def join_cgroups(pid):
    """Version 1 has the device rules in a hierarchy of their own, version 2 in its only one."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = CGROUPS / (controllers or "unified") if (CGROUPS / (controllers or "unified")).is_dir() else CGROUPS
        if controllers in ("devices", ""):
            try:
                (folder / path.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
            except FileNotFoundError:
                # A hierarchy that this machine does not have mounted.
                continue


def enter(pid):
    join_cgroups(pid)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(namespace)
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)


def attempt(action):
    """`ok`, or the name of the error."""
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def listing(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def main():
    pid, device, writable = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    enter(pid)
    node = f"{writable}/node"
    told = {
        "open": attempt(lambda: os.close(os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))),
        # With the numbers of any terminal: making a node of one's own is the other way to a device.
        "mknod": attempt(lambda: os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(4, 64))),
        "dev": listing("/dev"),
        "dev/fieldgate": listing("/dev/fieldgate"),
        "dev/pts": listing("/dev/pts"),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
