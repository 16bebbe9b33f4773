"""A disk with the reference image, and what is put onto its boot partition while it does not run."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

class Disk:
    """A copy of the image that FIELDGATE_IMAGE names; the image itself stays as it is."""

    def __init__(self, path, size=8 << 30):
        image = os.environ.get("FIELDGATE_IMAGE")
        assert image, "FIELDGATE_IMAGE names no file: run scripts/test image, or scripts/build-image and set it to what that made"
        self.path = pathlib.Path(path)
        subprocess.run(["cp", "--sparse=always", image, self.path], check=True)
        self.begun_with = self.partition("data")["size"] * 512
        os.truncate(self.path, size)

    def partition(self, name):
        told = subprocess.run(["sfdisk", "--json", self.path], check=True, capture_output=True, text=True).stdout
        return next(one for one in json.loads(told)["partitiontable"]["partitions"] if one.get("name") == name)

    def put(self, files):
        """Writes files into the boot partition's root, as a person would who has the card in a reader: {name: text}. Only while nothing runs from the disk."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                source = pathlib.Path(folder, name)
                source.write_text(text)
                self._mtools("mcopy", "-o", source, f"::{name}")

    def boot_file(self, name):
        """The text of a file of the boot partition; an error when there is none."""
        return self._mtools("mtype", f"::{name}")

    def boot_entries(self):
        return sorted(self._mtools("mdir", "-b", "::loader/entries").replace("::/loader/entries/", "").split())

    def bytes_of(self, name):
        """The raw content of a partition, in pieces that overlap, so that nothing of up to 4 KiB is cut in two."""
        partition = self.partition(name)
        with open(self.path, "rb") as disk:
            disk.seek(partition["start"] * 512)
            left, end = partition["size"] * 512, b""
            while left:
                piece = disk.read(min(left, 16 << 20))
                left -= len(piece)
                yield end + piece
                end = piece[-4096:]

    def holds(self, name, what):
        return any(what.encode() in piece for piece in self.bytes_of(name))

    def read(self, path):
        """The text of a file on the data partition; empty when there is none."""
        place = f"{self.path}?offset={self.partition('data')['start'] * 512}"
        return self._run(["debugfs", "-R", f"cat {path}", place])

    def _mtools(self, tool, *arguments):
        place = f"{self.path}@@{self.partition('esp')['start'] * 512}"
        return self._run([tool, "-i", place, *arguments])

    @staticmethod
    def _run(command):
        tool = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        done = subprocess.run([tool, *map(str, command[1:])], capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
        return done.stdout
