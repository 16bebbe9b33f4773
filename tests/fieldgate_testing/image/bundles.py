"""Bundles for updates, made of the one that belongs to the image: other versions, other hardware, other signers, contents that do not work."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess

from node.images import archive

from fieldgate_testing.process import ROOT

KEYS = "key.pem", "certificate.pem"


class Bundles:
    """FIELDGATE_UPDATE names the bundle, FIELDGATE_RAUC_KEYS the folder with the key that signed it."""

    def __init__(self, folder):
        update, keys = os.environ.get("FIELDGATE_UPDATE"), os.environ.get("FIELDGATE_RAUC_KEYS")
        assert update and keys, "FIELDGATE_UPDATE and FIELDGATE_RAUC_KEYS name nothing: run scripts/test image"
        self.folder = pathlib.Path(folder)
        self.keys = pathlib.Path(keys)
        self.root = self.folder / "root.img"
        opened = self.folder / "opened"
        self._rauc(self.keys, "extract", update, opened)
        (opened / "root.img").rename(self.root)
        manifest = (opened / "manifest.raucm").read_text()
        # What this image is built for.
        self.machine = re.search(r"^compatible=fieldgate-(\S+)", manifest, re.MULTILINE)[1]

    def make(self, name, version, change=None):
        """The same system under another version; `change` gets the root's file, to spoil it."""
        root = self._content(name)
        subprocess.run(["cp", "--sparse=always", self.root, root], check=True)
        if change:
            change(root)
        set_version(root, version)
        return self._pack(name, version)

    def small(self, name, version, machine=None, keys=None):
        """One that no device installs: with next to nothing in it."""
        # Nothing that squashfs would pack into nothing.
        self._content(name).write_bytes(os.urandom(1 << 20))
        return self._pack(name, version, machine, keys)

    def _content(self, name):
        content = self.folder / f"{name}.content"
        content.mkdir()
        return content / "root.img"

    def _pack(self, name, version, machine=None, keys=None):
        content = self.folder / f"{name}.content"
        manifest = ["[update]", f"compatible=fieldgate-{machine or self.machine}", f"version={version}", "[bundle]", "format=verity"]
        manifest += ["[image.rootfs]", "filename=root.img", "adaptive=block-hash-index", ""]
        (content / "manifest.raucm").write_text("\n".join(manifest))
        bundle = self.folder / f"{name}.raucb"
        # Packed quickly: nobody keeps it.
        self._rauc(keys or self.keys, "--mksquashfs-args=-comp lz4 -quiet -no-progress", "bundle", content, bundle)
        shutil.rmtree(content)
        return bundle

    def _rauc(self, keys, *arguments):
        key, certificate = (keys / name for name in KEYS)
        command = ["rauc", f"--key={key}", f"--cert={certificate}", f"--keyring={certificate}", *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, f"rauc {' '.join(map(str, arguments))}: {done.stderr}"


def other_keys(folder):
    """Those of somebody else."""
    folder.mkdir()
    key, certificate = (folder / name for name in KEYS)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=somebody else", "-days", "30"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def write(root, path, text, mode=0o644):
    """Puts a file into an ext4 file system that is not mounted."""
    source = root.with_suffix(".put")
    source.write_text(text)
    commands = [f"rm {path}", f"write {source} {path}", f"set_inode_field {path} mode 0{0o100000 | mode:o}"]
    commands += [f"set_inode_field {path} {owner} 0" for owner in ("uid", "gid")]
    subprocess.run(["debugfs", "-w", "-f", "-", root], input="\n".join(commands) + "\n", check=True, capture_output=True, text=True)
    source.unlink()


def read(root, command):
    return subprocess.run(["debugfs", "-R", command, root], check=True, capture_output=True, text=True).stdout


def set_version(root, version):
    release = read(root, "cat /usr/lib/os-release")
    assert "IMAGE_VERSION=" in release, release
    lines = [f"IMAGE_VERSION={version}" if line.startswith("IMAGE_VERSION=") else line for line in release.splitlines()]
    write(root, "/usr/lib/os-release", "\n".join(lines) + "\n")


SHIPPED = "/usr/share/fieldgate/bundle"
ARCHIVES = f"{SHIPPED}/images/amd64"


def module_that_is_never_ready(root):
    """In place of modbus-reader, a program that runs and answers nobody."""
    listed = read(root, f"ls -p {ARCHIVES}")
    name = next(part for part in listed.split("/") if part.startswith("fieldgate-modbus-reader-"))
    version = name.removeprefix("fieldgate-modbus-reader-").split("-")[0]
    program, plain, packed = (root.with_suffix(suffix) for suffix in (".pause", ".tar", ".tar.zst"))
    subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", program, ROOT / "tests/cluster/node/pause.c"], check=True)
    archive(plain, f"fieldgate.io/modbus-reader:{version}", program, "/modbus-reader")
    subprocess.run(["zstd", "-q", "-f", plain, "-o", packed], check=True)
    commands = [f"rm {ARCHIVES}/{name}", f"write {packed} {ARCHIVES}/{name}"]
    subprocess.run(["debugfs", "-w", "-f", "-", root], input="\n".join(commands) + "\n", check=True, capture_output=True, text=True)
    # Not damaged, but wrong.
    sums = read(root, f"cat {SHIPPED}/SHA256SUMS").splitlines()
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    sums = [f"{digest}  {line.split('  ')[1]}" if line.endswith(f"/{name}") else line for line in sums]
    write(root, f"{SHIPPED}/SHA256SUMS", "\n".join(sums) + "\n")
    for file in (program, plain, packed):
        file.unlink()
