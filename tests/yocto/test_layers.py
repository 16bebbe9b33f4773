"""What bitbake would stumble over: files that are named and are not there, versions, the release a layer is for."""

import re
import subprocess
import sys
import tomllib

import pytest

from layers import IMAGE, LAYERS, ROOT, YOCTO, assignments, metadata, variable, workspace_version

RECIPES = [file for file in metadata() if file.suffix in (".bb", ".bbappend")]
name = lambda file: str(file.relative_to(YOCTO))  # noqa: E731


def search_path(recipe):
    """Where bitbake looks for a recipe's files, as far as it is ours."""
    base = re.sub(r"_.*", "", recipe.stem)
    path = [recipe.parent / folder for folder in (base, "files")]
    sources = [recipe] + [YOCTO / layer / line for line in re.findall(r"^require (\S+)", recipe.read_text(), re.M) for layer in LAYERS]
    for source in sources:
        if not source.is_file():
            continue
        for variable_name, _, value in assignments(source):
            if variable_name.startswith("FILESEXTRAPATHS:prepend"):
                for folder in filter(None, value.split(":")):
                    layer = next(layer for layer in LAYERS if source.is_relative_to(layer))
                    folder = folder.replace("${THISDIR}", str(source.parent)).replace("${FIELDGATE_REPOSITORY}", str(ROOT))
                    path.append(type(ROOT)(folder.replace("${LAYERDIR_fieldgate-distro}", str(layer))))
    return path


def sources(recipe):
    """Every `file://` of a recipe and of what it requires."""
    texts = [recipe.read_text()]
    for line in re.findall(r"^require (\S+)", texts[0], re.M):
        texts += [found.read_text() for layer in LAYERS for found in (layer / line, recipe.parent / line) if found.is_file()]
    for text in texts:
        for value in re.findall(r"^SRC_URI\S*\s*\+?=\s*\"([^\"]*)\"", text.replace("\\\n", " "), re.M):
            yield from re.findall(r"file://([^\s;]+)", value)


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_every_file_of_a_recipe_is_there(recipe):
    path = search_path(recipe)
    for wanted in sources(recipe):
        assert any((folder / wanted).exists() for folder in path), f"{wanted} is in none of {[str(folder) for folder in path]}"


@pytest.mark.parametrize("file", list(metadata()), ids=name)
def test_what_is_required_is_there(file):
    for kind, wanted in re.findall(r"^(require|inherit) (.+)$", file.read_text(), re.M):
        if kind == "require":
            # What is not ours is openembedded-core's, and scripts/yocto-check looks for it.
            if "fieldgate" in wanted or "/" not in wanted or "k3s" in wanted:
                assert any((folder / wanted).is_file() for folder in [file.parent, *LAYERS]), f"{wanted} is not there"
        for one in wanted.split() if kind == "inherit" else []:
            if one.startswith("fieldgate"):
                assert any(layer.glob(f"classes*/{one}.bbclass") for layer in LAYERS)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_layer_says_which_release_it_is_for(layer):
    conf = layer / "conf/layer.conf"
    collection = variable(conf, "BBFILE_COLLECTIONS")
    assert variable(conf, f"LAYERSERIES_COMPAT_{collection}") == "wrynose"
    assert variable(conf, f"LAYERDEPENDS_{collection}")
    assert (layer / "README.md").is_file() and (layer / "SECURITY.md").is_file()


def test_software_distribution_and_boards_are_layers_of_their_own():
    """yocto-check-layer refuses a layer that has both conf/distro and conf/machine."""
    for layer in LAYERS:
        assert not ((layer / "conf/distro").exists() and (layer / "conf/machine").exists())


def test_bbappends_of_optional_layers_lie_apart():
    """Without its layer, a bbappend has nothing to append to, and nothing parses."""
    for file in metadata():
        if file.suffix == ".bbappend" and "dynamic-layers" not in file.parts:
            assert file.name.startswith("linux-yocto_"), f"{name(file)} belongs to a layer that may be absent"


def test_the_version_is_that_of_the_workspace():
    assert variable(YOCTO / "meta-fieldgate/conf/layer.conf", "FIELDGATE_VERSION") == workspace_version()
    for recipe in RECIPES:
        for found, _, value in assignments(recipe):
            assert found != "PV" or value == "${FIELDGATE_VERSION}", f"{name(recipe)} has a version of its own"


def test_the_release_of_k3s_is_pinned_for_both_processors():
    values = dict((found, value) for found, _, value in assignments(YOCTO / "meta-fieldgate/recipes-k3s/k3s-bin/k3s-release.inc"))
    for asset in ("k3s-amd64", "k3s-arm64", "images-amd64", "images-arm64"):
        assert re.fullmatch("[0-9a-f]{64}", values[f"SRC_URI[{asset}.sha256sum]"])
    major, minor = (int(part) for part in values["PV"].split(".")[:2])
    assert (major, minor) >= (1, 33), "image/k3s/config.yaml.d needs 1.33"


def test_toolchains_of_the_release_are_enough():
    """Nothing is compiled inside Yocto now; somebody who does it finds Rust 1.94.1 and Go 1.26.5 in this release."""
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert tuple(int(part) for part in rust.split(".")) <= (1, 94, 1)
    for module in [IMAGE / "dapr/go.mod", IMAGE / "broker/go.mod", IMAGE / "k3s/dapr/go.mod"]:
        version = re.search(r"^go (\S+)$", module.read_text(), re.M)[1]
        assert tuple(int(part) for part in version.split(".")) <= (1, 26, 5), f"{module.relative_to(ROOT)}: go {version}"
        toolchain = re.search(r"^toolchain go(\S+)$", module.read_text(), re.M)
        assert not toolchain or tuple(int(part) for part in toolchain[1].split(".")) <= (1, 26, 5)


def test_the_linter_finds_nothing():
    """oelint-adv, without the rules of oelint.txt, which has a reason for each; variables that it does not know stand in oelint-variables.json."""
    rules = [line.split()[0] for line in (ROOT / "tests/yocto/oelint.txt").read_text().splitlines() if line and line[0] != "#"]
    command = [sys.executable, "-m", "oelint_adv", "--release", "wrynose", "--quiet", "--jobs", "2", "--hide", "info"]
    command += [f"--suppress={rule}" for rule in rules]
    command += [f"--constantmods=+{ROOT / 'tests/yocto/oelint-variables.json'}", *(str(file) for file in metadata())]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
