"""No account with a password, no key in the repository, nothing that opens a device to whoever asks."""

import re
import subprocess

import pytest

from layers import ROOT, YOCTO, assignments, metadata

OPEN_DOORS = ("allow-empty-password", "empty-root-password", "allow-root-login", "serial-autologin-root", "post-install-logging", "debug-tweaks")
CLASS = YOCTO / "meta-fieldgate/classes-recipe/fieldgate-image.bbclass"


def tracked():
    """What the repository holds, or will at the next commit."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("door", OPEN_DOORS)
def test_no_file_asks_for_a_password_feature(door):
    for file in [*metadata(), *(YOCTO / "kas").glob("*.yml")]:
        if file != CLASS:
            assert door not in file.read_text(), f"{file.relative_to(ROOT)}: {door}"


def test_an_image_that_asks_for_one_is_not_built():
    text = CLASS.read_text()
    for door in OPEN_DOORS:
        assert f"'{door}'" in text
    assert "bb.fatal" in text


def test_nothing_gives_a_user_a_password():
    for file in [*metadata(), *(YOCTO / "kas").glob("*.yml")]:
        text = file.read_text()
        assert not re.search(r"(useradd|usermod)\b.*(-p|--password)\b", text), f"{file.relative_to(ROOT)} sets a password"
        assert "inherit extrausers" not in text and "EXTRA_USERS_PARAMS" not in text, f"{file.relative_to(ROOT)}: root is the only account"


def test_no_key_is_in_the_repository():
    """Nor a certificate: whose updates a device takes is for its maker to say. Tests of the provisioning have keys that open nothing."""
    for file in tracked():
        if file.is_relative_to(YOCTO) or file.is_relative_to(ROOT / "image"):
            assert b"-----BEGIN" not in file.read_bytes(), f"{file.relative_to(ROOT)} has a key or certificate in it"


def test_keys_come_by_variables_that_may_be_absent():
    """A layer whose recipes do not parse without keys cannot be used to build anything else, either."""
    for file in metadata():
        for name, operator, value in assignments(file):
            if name in ("RAUC_KEY_FILE", "RAUC_CERT_FILE", "RAUC_KEYRING_FILE"):
                assert (operator, value) == ("??=", ""), f"{file.relative_to(ROOT)} sets {name}"
    base = (YOCTO / "kas/base.yml").read_text()
    for name in ("RAUC_KEY_FILE", "RAUC_CERT_FILE", "RAUC_KEYRING_FILE"):
        assert f"  {name}: null\n" in base


def test_the_root_is_read_only():
    assert ("IMAGE_FEATURES", "+=", "read-only-rootfs") in list(assignments(CLASS))


def test_recipes_fetch_over_tls_only():
    for file in [*metadata(), *(YOCTO / "kas").glob("*.yml")]:
        for url in re.findall(r"\b(?:http|git|ftp)://\S+", file.read_text()):
            raise AssertionError(f"{file.relative_to(ROOT)}: {url}")


def test_kernel_settings_that_keep_a_device_closed():
    text = (YOCTO / "meta-fieldgate-distro/recipes-kernel/linux/files/hardening.cfg").read_text()
    for line in ("CONFIG_STRICT_KERNEL_RWX=y", "CONFIG_HARDENED_USERCOPY=y", "CONFIG_STRICT_DEVMEM=y", "# CONFIG_KEXEC is not set", "CONFIG_SECURITY_LOCKDOWN_LSM=y"):
        assert line in text.splitlines()


def test_kernel_settings_do_not_contradict_each_other():
    said = {}
    for file in sorted((YOCTO / "meta-fieldgate-distro/recipes-kernel/linux/files").glob("*.cfg")):
        for line in file.read_text().splitlines():
            if found := re.fullmatch(r"(?:# (CONFIG_\w+) is not set|(CONFIG_\w+)=(\S+))", line):
                option, value = found[1] or found[2], found[3] or "n"
                assert said.setdefault(option, (value, file.name))[0] == value, f"{option}: {said[option]} and {value} in {file.name}"
            else:
                assert not line or line.startswith("# "), f"{file.name}: {line}"
