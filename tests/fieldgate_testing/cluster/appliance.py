"""The description of an appliance and what `fieldgate manifests` makes of it, as files that a person would edit."""

import itertools
import os
import pathlib
import subprocess

import yaml

from fieldgate_testing.process import program


class Appliance:
    """`description` is that of appliance.yaml without `configuration`; `documents` has the configuration of each module. Both as Python objects.

    `manifests` is the folder that Kubernetes reads by itself, if there is one: others' files may be in it."""

    def __init__(self, folder, description, documents, hub_ca=None, manifests=None):
        self.folder = pathlib.Path(folder)
        self.manifests = manifests or self.folder / "manifests"
        self.description = description
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifests.mkdir(parents=True, exist_ok=True)
        for module, document in documents.items():
            path = self.folder / f"{module}.document.yaml"
            path.write_text(yaml.safe_dump(document, sort_keys=False))
            description["modules"].setdefault(module, {})["configuration"] = path.name
        if hub_ca:
            (self.folder / "hub-ca.pem").write_text(pathlib.Path(hub_ca).read_text())
            description["hub"] = {"ca": "hub-ca.pem"}
        self.describe()

    def describe(self):
        """Writes appliance.yaml as `description` is now."""
        (self.folder / "appliance.yaml").write_text(yaml.safe_dump(self.description, sort_keys=False))

    def generate(self, *options, check=True):
        """Runs `fieldgate manifests`."""
        command = [program("fieldgate"), "manifests", "--appliance", self.folder / "appliance.yaml", "--output", self.manifests, *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
        assert not check or done.returncode == 0, f"fieldgate manifests ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def files(self):
        """The manifest files, in the order in which k3s applies them; whatever else is in that folder is not ours."""
        return sorted(path for path in self.manifests.glob("*.yaml") if "`fieldgate manifests`" in path.read_text()[:1000])

    def objects(self, path=None):
        """The objects of one file, or of all."""
        return [item for file in ([path] if path else self.files()) for item in yaml.safe_load_all(file.read_text()) if item]

    def configuration_file(self, module):
        return self.manifests / f"{module}-configuration.yaml"

    def read_document(self, module):
        """The text of a module's configuration out of its manifest file."""
        return self._config_map(module)[1]["data"][f"{module}.yaml"]

    def write_document(self, module, text):
        """Puts another text into the manifest file, as an editor would."""
        path = self.configuration_file(module)
        head = "".join(itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines(keepends=True)))
        objects, config_map = self._config_map(module)
        config_map["data"][f"{module}.yaml"] = text
        replace_file(path, head + yaml.dump_all(objects, Dumper=Blocks, sort_keys=False))

    def _config_map(self, module):
        objects = self.objects(self.configuration_file(module))
        name = f"{module}-configuration"
        return objects, next(item for item in objects if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name)


def replace_file(path, text):
    """A new file renamed over the old one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


class Blocks(yaml.SafeDumper):
    """Writes texts of several lines as they are, behind a bar."""


def _block(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Blocks.add_representer(str, _block)
