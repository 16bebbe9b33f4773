"""A disk with the reference image, and what is put onto its data partition before it starts, as a provisioning would leave it."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = 0


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
        """Writes files onto the data partition: {path below /data: (text, mode)}. Only while nothing runs from the disk."""
        with tempfile.TemporaryDirectory() as folder:
            commands = []
            for number, (path, (text, mode)) in enumerate(files.items()):
                source = pathlib.Path(folder, str(number))
                source.write_text(text)
                parents = [parent for parent in reversed(pathlib.PurePath(path).parents) if str(parent) != "."]
                commands += [f"mkdir {parent}" for parent in parents]
                commands += [f"write {source} {path}", f"set_inode_field {path} mode 0{0o100000 | mode:o}"]
                commands += [f"set_inode_field {path} {owner} {ROOT}" for owner in ("uid", "gid")]
            script = pathlib.Path(folder, "commands")
            script.write_text("\n".join(commands) + "\n")
            self._debugfs("-w", "-f", script)
        missing = [path for path in files if not self.read(path)]
        assert not missing, f"debugfs did not write {missing} onto {self.path}"

    def read(self, path):
        """The text of a file on the data partition; empty when there is none."""
        return self._debugfs("-R", f"cat {path}")

    def _debugfs(self, *arguments):
        place = f"{self.path}?offset={self.partition('data')['start'] * 512}"
        tool = shutil.which("debugfs", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        return subprocess.run([tool, *map(str, arguments), place], check=True, capture_output=True, text=True).stdout
