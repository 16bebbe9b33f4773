"""What Debian gives the reference image, Yocto gives its own: a package that is added to one and forgotten in the other is missed on the device."""

import re

from layers import IMAGE, YOCTO, assignments

GROUP = YOCTO / "meta-fieldgate/recipes-core/packagegroups/packagegroup-fieldgate.bb"
SOURCE = YOCTO / "meta-fieldgate/dynamic-layers/virtualization-layer/recipes-k3s/fieldgate-k3s-source/fieldgate-k3s-source.bb"


def lines(file):
    return [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]


def table():
    return {line.split()[0]: line.split()[1:] for line in lines(YOCTO / "packages")}


def installed():
    return {name for found, _, value in assignments(GROUP) if found == "RDEPENDS:${PN}" for name in value.split()}


def test_every_package_of_debian_has_its_line():
    debian = [name for list_ in ("packages", "packages.k3s-tools") for name in lines(IMAGE / "reference" / list_)]
    assert sorted(debian) == sorted(table()), "yocto/packages and image/reference/packages differ"


def test_a_line_names_what_the_image_has_or_says_why_not():
    for debian, here in table().items():
        if here[0] == "-":
            assert len(here) > 2, f"{debian}: say why it is not needed"
        else:
            assert set(here) <= installed(), f"{debian}: {set(here) - installed()} is not in packagegroup-fieldgate"


def test_a_k3s_from_source_has_the_tools_that_the_release_contains():
    wanted = {debian for debian, here in table().items() if "fieldgate-k3s-source" in here}
    names = {"conntrack": "conntrack-tools", "runc": "virtual-runc", "containernetworking-plugins": "cni"}
    depends = next(value.split() for found, _, value in assignments(SOURCE) if found == "RDEPENDS:${PN}")
    assert {names.get(name, name) for name in wanted} <= set(depends)


def test_the_modules_are_in_the_image():
    assert {"fieldgate-host", "fieldgate-preload", "fieldgate-rauc-conf", "${FIELDGATE_K3S}"} <= installed()


def test_both_builds_of_k3s_put_the_same_tools_in_its_folder():
    """k3s takes the CNI plugins from where `host-local` lies, and containerd from PATH: one folder has them all."""
    plugins = re.search(r"for name in (.+); do ln -s \.\./\.\./cni/", SOURCE.read_text())[1].split()
    assemble = (IMAGE / "reference/assemble").read_text()
    reference = re.search(r"for plugin in (.+); do\n", assemble)[1].split()
    assert set(reference) | {"flannel"} == set(plugins)
