"""Where the Yocto layers are, and how their files are read without Yocto."""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
YOCTO = ROOT / "yocto"
LAYERS = sorted(file.parent.parent for file in YOCTO.glob("*/conf/layer.conf"))
IMAGE = ROOT / "image"


def metadata():
    """Every file that bitbake reads."""
    for layer in LAYERS:
        for pattern in ("**/*.bb", "**/*.bbappend", "**/*.bbclass", "**/*.inc", "conf/**/*.conf"):
            yield from sorted(layer.glob(pattern))


def assignments(file):
    """`NAME op "value"` of a file in order, as (name, operator, value); continued lines are one."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.M).replace("\\\n", " ")
    pattern = r"^([A-Za-z0-9_:${}.+/-]+(?:\[[^\]]+\])?)\s*(\?\?=|\?=|:=|\+=|=\+|\.=|=\.|=)\s*(\"[^\"]*\"|'[^']*')"
    for name, operator, value in re.findall(pattern, text, flags=re.M):
        yield name, operator, " ".join(value[1:-1].split())


def variable(file, name):
    """The value that a file gives a variable, for a variable that it sets once."""
    values = [value for found, _, value in assignments(file) if found == name]
    assert len(values) == 1, f"{file.relative_to(ROOT)} sets {name} {len(values)} times"
    return values[0]


def workspace_version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def partitions(wks):
    """The partitions of a wks file, in their order: a dictionary each."""
    found = []
    for line in wks.read_text().splitlines():
        if not line.startswith("part "):
            continue
        options = dict(re.findall(r"--([a-z-]+)(?:[ =](\"[^\"]*\"|[^-\s]\S*))?", line))
        found.append({name: value.strip('"') for name, value in options.items()})
    return found
