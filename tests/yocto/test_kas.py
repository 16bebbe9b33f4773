"""The kas files: what kas itself accepts, and the same commit of a layer wherever it is named."""

import importlib.resources
import json
import re

import jsonschema
import pytest
import yaml

from layers import LAYERS, ROOT, YOCTO

FILES = sorted((YOCTO / "kas").glob("*.yml"))
SCHEMA = json.loads((importlib.resources.files("kas") / "schema-kas.json").read_text())


def read(file):
    return yaml.safe_load(file.read_text())


def included(file):
    """A file and all that it includes, by its path in the repository."""
    content = read(file)
    yield content
    for name in content["header"].get("includes", []):
        yield from included(ROOT / name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_kas_accepts_it(file):
    jsonschema.validate(read(file), SCHEMA)
    for content in included(file):
        assert content["header"]["version"] <= 21, "older releases of kas, which distributions have, do not read this"


def test_every_layer_is_pinned_and_always_to_the_same_commit():
    pins = {}
    for file in FILES:
        for name, repo in read(file).get("repos", {}).items():
            if name != "fieldgate" and "url" in repo:
                pins.setdefault((name, repo["url"]), set()).add((repo.get("branch"), repo.get("commit")))
    assert len(pins) >= 6
    for (name, _), found in pins.items():
        assert len(found) == 1, f"{name} is pinned differently: {found}"
        branch, commit = found.pop()
        assert re.fullmatch("[0-9a-f]{40}", commit or ""), f"{name} has no full commit"
        assert branch, f"{name}: without a branch, nobody knows where the next commit comes from"
    assert len({name for name, _ in pins}) == len(pins), "a layer comes from two places"


def test_the_documentation_names_the_same_commits():
    text = (YOCTO / "README.md").read_text()
    for file in FILES:
        for name, repo in read(file).get("repos", {}).items():
            if "commit" in repo:
                row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
                assert repo["commit"] in row, f"README.md names another commit of {name}"


def test_our_layers_are_in_every_build():
    ours = read(YOCTO / "kas/base.yml")["repos"]["fieldgate"]["layers"]
    assert {f"yocto/{layer.name}" for layer in LAYERS} == set(ours)


@pytest.mark.parametrize("machine", ["fieldgate-x86-64", "qemux86-64", "raspberrypi4-64", "raspberrypi5"])
def test_there_is_a_build_for_each_machine(machine):
    files = [file for file in FILES if read(file).get("machine") == machine]
    assert len(files) == 1
    distros = [content["distro"] for content in included(files[0]) if "distro" in content]
    assert distros == ["fieldgate-os"]
