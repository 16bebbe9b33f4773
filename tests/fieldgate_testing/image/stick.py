"""A stick with files, as a person writes one: FAT, without partitions."""

import pathlib
import subprocess


class Stick:
    """The kernel of the image knows no USB, so it comes as a disk with the label that does the same."""

    def __init__(self, path, files):
        self.path = pathlib.Path(path)
        subprocess.run(["/usr/sbin/mkfs.vfat", "-n", "FIELDGATE", "-C", self.path, "16384"], check=True, capture_output=True)
        for name, text in files.items():
            source = self.path.with_suffix(".put")
            source.write_text(text)
            subprocess.run(["mcopy", "-i", self.path, source, f"::{name}"], check=True)
            source.unlink()

    def qemu(self):
        """What scripts/run-image hands on."""
        return ["--", "-drive", f"file={self.path},format=raw,if=none,id=stick", "-device", "virtio-blk-pci,drive=stick"]

    def read(self, name):
        return subprocess.run(["mtype", "-i", self.path, f"::{name}"], check=True, capture_output=True, text=True).stdout

    def holds(self, what):
        return what.encode() in self.path.read_bytes()
