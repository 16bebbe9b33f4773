"""What the recipes' shell does, run without Yocto: its variables are put in place, and the files that it installs are looked at."""

import hashlib
import os
import re
import subprocess

import pytest

from layers import IMAGE, ROOT, YOCTO, assignments

SOFTWARE = YOCTO / "meta-fieldgate"
DIRECTORIES = {
    "prefix": "/usr",
    "sysconfdir": "/etc",
    "bindir": "/usr/bin",
    "datadir": "/usr/share",
    "libexecdir": "/usr/libexec",
    "nonarch_libdir": "/usr/lib",
    "systemd_system_unitdir": "/usr/lib/systemd/system",
}


def function(file, name):
    return re.search(rf"^{name}\(\) \{{\n(.*?)^\}}$", file.read_text(), re.M | re.S)[1]


def run(file, name, folder, machine_features="efi", overrides=(), **given):
    """Runs a shell function of a recipe with D, WORKDIR and UNPACKDIR in a folder; gives D."""
    values = {found: value for found, _, value in assignments(file)}
    for line in re.findall(r"^require (\S+)", file.read_text(), re.M):
        values = {found: value for found, _, value in assignments(file.parent / line)} | values
    for found, value in list(values.items()):
        for override in overrides:
            if found.endswith(f":{override}"):
                values[found.removesuffix(f":{override}")] = value
    places = {place: folder / place for place in ("D", "WORKDIR", "UNPACKDIR", "DEPLOYDIR", "DEPLOY_DIR_IMAGE", "IMAGE_ROOTFS")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    values |= DIRECTORIES | {place: str(path) for place, path in places.items()} | {"FIELDGATE_REPOSITORY": str(ROOT)} | given
    text = function(file, name)
    text = text.replace("${@bb.utils.contains('MACHINE_FEATURES', 'efi', 'true', 'false', d)}", "true" if machine_features == "efi" else "false")
    for _ in range(10):
        text = re.sub(r"\$\{([A-Za-z0-9_]+)\}", lambda found: str(values.get(found[1], found[0])), text)
    assert "${" not in text, f"a variable that this test does not know: {re.findall(r'[$]{[^}]*}', text)}"
    shell = "set -e\nbbfatal() { echo \"$*\" >&2; exit 1; }\n" + text
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin:/usr/sbin"})
    assert done.returncode == 0, done.stderr
    return places["D"]


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


def unpack(recipe, folder, wanted):
    """What do_unpack leaves: files by their names, folders with the path that SRC_URI gives."""
    target = folder / "UNPACKDIR"
    for source, name in wanted:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-rP", source, place], check=True)


HOST = SOFTWARE / "recipes-fieldgate/fieldgate-host"


@pytest.fixture
def host(tmp_path):
    files = [(IMAGE / "rootfs/usr", "rootfs/usr"), (IMAGE / "rootfs/etc/ssh", "rootfs/etc/ssh"), (IMAGE / "reference/units", "units")]
    files += [(HOST / "files" / name, name) for name in ("units.sed", "entry.sed", "50-yocto.preset")]
    unpack(HOST, tmp_path, files)
    return tmp_path


def test_the_device_has_every_file_of_the_reference_image(host):
    installed = tree(run(HOST / "fieldgate-host.bb", "do_install", host))
    for file in tree(IMAGE / "rootfs/usr"):
        assert f"usr/{file}" in installed or file == "lib/rauc/system.conf"
    for file in ("usr/share/fieldgate/firewall.nft", "usr/lib/fieldgate/preinit", "etc/ssh/sshd_config.d/10-fieldgate.conf"):
        assert (host / "D" / file).read_bytes() == (IMAGE / "rootfs" / file).read_bytes()
    preinit = host / "D/usr/lib/fieldgate/preinit"
    assert os.access(preinit, os.X_OK)
    # Without an initrd nobody else has mounted where PARTLABEL= is looked up.
    text = preinit.read_text()
    assert text.index("sysfs /sys") < text.index("PARTLABEL=data")


def test_what_is_on_off_and_masked(host):
    root = run(HOST / "fieldgate-host.bb", "do_install", host)
    preset = (root / "usr/lib/systemd/system-preset/50-fieldgate.preset").read_text().splitlines()
    for unit in ("k3s.service", "sshd.service", "fieldgate-health.service", "systemd-networkd.service", "systemd-resolved.service"):
        assert f"enable {unit}" in preset
    assert preset[-1] == "disable *"
    for unit in ("getty@.service", "serial-getty@.service", "systemd-logind.service", "sshdgenkeys.service", "systemd-sysusers.service"):
        assert str((root / "etc/systemd/system" / unit).readlink()) == "/dev/null"
    assert not (root / "etc/systemd/system/dpkg-db-backup.timer").is_symlink()
    assert str((root / "usr/lib/systemd/system/ssh.service").readlink()) == "sshd.service"
    assert str((root / "etc/systemd/system-generators/systemd-ssh-generator").readlink()) == "/dev/null"


def test_a_board_with_u_boot_has_nothing_of_systemd_boot(host):
    root = run(HOST / "fieldgate-host.bb", "do_install", host, machine_features="")
    assert not (root / "usr/lib/fieldgate/boot").exists() and not (root / "usr/lib/fieldgate/rauc-backend").exists()
    assert (root / "usr/lib/fieldgate/preinit").exists()


def test_the_entry_of_slot_a(tmp_path):
    boot = IMAGE / "rootfs/usr/lib/fieldgate/boot/entry.conf"
    unpack(None, tmp_path, [(boot, "entry.conf"), (IMAGE / "reference/loader/loader.conf", "loader.conf"), (HOST / "files/entry.sed", "entry.sed")])
    recipe = next((YOCTO / "meta-fieldgate-bsp/recipes-bsp/fieldgate-loader").glob("*.bb"))
    run(recipe, "do_compile", tmp_path)
    run(recipe, "do_deploy", tmp_path)
    entry = (tmp_path / "DEPLOYDIR/fieldgate-loader/fieldgate-a.conf").read_text()
    assert "@" not in entry and "linux   /a/vmlinuz\n" in entry and "initrd" not in entry
    assert "default fieldgate-*" in (tmp_path / "DEPLOYDIR/fieldgate-loader/loader.conf").read_text()


@pytest.mark.parametrize("bootloader, wanted", [("systemd-boot", "bootloader=custom"), ("u-boot", "bootloader=uboot")])
def test_settings_of_updates(tmp_path, bootloader, wanted):
    folder = SOFTWARE / "recipes-fieldgate/fieldgate-rauc-conf"
    unpack(None, tmp_path, [(IMAGE / "rootfs/usr/lib/rauc/system.conf", "system.conf"), (folder / "files/u-boot.sed", "u-boot.sed")])
    (tmp_path / "keyring").write_text("certificates")
    given = {"MACHINE": "a-board", "FIELDGATE_BOOTLOADER": bootloader, "RAUC_KEYRING_FILE": str(tmp_path / "keyring")}
    root = run(folder / "fieldgate-rauc-conf.bb", "do_install", tmp_path, **given)
    lines = (root / "usr/lib/rauc/system.conf").read_text().splitlines()
    assert wanted in lines and "compatible=fieldgate-a-board" in lines
    assert (root / "usr/lib/rauc/keyring.pem").read_text() == "certificates"


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    files = ["manifests/dapr.yaml", "k3s/registries.yaml", "systemd/a.service"]
    files += [f"{kind}/{arch}/{name}" for arch in ("amd64", "arm64") for kind, name in (("images", "a.tar.zst"), ("bin", "fieldgate"))]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  ./{name}\n" for name in files)
    (folder / "SHA256SUMS").write_text(sums)
    return folder


@pytest.mark.parametrize("override, ours, others", [("x86-64", "amd64", "arm64"), ("aarch64", "arm64", "amd64")])
def test_a_device_gets_what_is_for_its_processor(tmp_path, bundle, override, ours, others):
    recipe = SOFTWARE / "recipes-fieldgate/fieldgate-preload/fieldgate-preload.bb"
    root = run(recipe, "do_install", tmp_path, overrides=[override], FIELDGATE_BUNDLE=str(bundle))
    installed = tree(root)
    assert f"usr/share/fieldgate/bundle/images/{ours}/a.tar.zst" in installed and not any(others in name for name in installed)
    assert (root / "usr/local/bin/fieldgate").read_text() == f"bin/{ours}/fieldgate"
    copy = root / f"usr/share/fieldgate/bundle/bin/{ours}/fieldgate"
    assert copy.stat().st_ino == (root / "usr/local/bin/fieldgate").stat().st_ino, "twice on flash"
    assert "etc/systemd/system/a.service" in installed


def test_a_bundle_that_was_changed_is_refused(tmp_path, bundle):
    (bundle / "manifests/dapr.yaml").write_text("changed")
    with pytest.raises(AssertionError, match="is not what its SHA256SUMS says"):
        run(SOFTWARE / "recipes-fieldgate/fieldgate-preload/fieldgate-preload.bb", "do_install", tmp_path, overrides=["aarch64"], FIELDGATE_BUNDLE=str(bundle))


@pytest.mark.parametrize("override, ours", [("x86-64", "amd64"), ("aarch64", "arm64")])
def test_k3s_is_where_its_unit_looks(tmp_path, override, ours):
    (tmp_path / "UNPACKDIR").mkdir()
    for name in (f"k3s-1.34.3-{ours}", f"k3s-airgap-images-1.34.3-{ours}.tar.zst"):
        (tmp_path / "UNPACKDIR" / name).write_text(name)
    root = run(SOFTWARE / "recipes-k3s/k3s-bin/k3s-bin.bb", "do_install", tmp_path, overrides=[override])
    unit = (IMAGE / "rootfs/usr/lib/systemd/system/k3s.service").read_text()
    program = re.search(r"^ExecStart=(\S+)", unit, re.M)[1]
    assert os.access(root / program[1:], os.X_OK)
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        assert (root / "usr/local/bin" / name).resolve() == (root / program[1:]).resolve()
    assert f"usr/share/fieldgate/k3s/images/k3s-airgap-images-1.34.3-{ours}.tar.zst" in tree(root)


def test_files_of_etc_and_places_to_mount(tmp_path):
    """Over what other packages brought; a link where something is mounted becomes a folder."""
    etc = tmp_path / "IMAGE_ROOTFS/etc"
    etc.mkdir(parents=True)
    var = tmp_path / "IMAGE_ROOTFS/var"
    var.mkdir()
    (var / "log").symlink_to("volatile/log")
    (etc / "fstab").write_text("/dev/root / auto defaults 1 1\n")
    (etc / "resolv.conf").symlink_to("somewhere")
    run(SOFTWARE / "classes-recipe/fieldgate-image.bbclass", "fieldgate_own_etc", tmp_path)
    assert (etc / "fstab").read_bytes() == (IMAGE / "rootfs/etc/fstab").read_bytes()
    assert (etc / "resolv.conf").readlink() == (IMAGE / "rootfs/etc/resolv.conf").readlink()
    assert (etc / "machine-id").read_bytes() == b""
    assert (var / "log").is_dir() and not (var / "log").is_symlink()
    for line in (IMAGE / "rootfs/etc/fstab").read_text().splitlines():
        if line and line[0] != "#":
            assert (tmp_path / "IMAGE_ROOTFS" / line.split()[1][1:]).is_dir()


def test_the_kernel_is_where_an_update_takes_it_from(tmp_path):
    (tmp_path / "DEPLOY_DIR_IMAGE").mkdir()
    (tmp_path / "DEPLOY_DIR_IMAGE/bzImage").write_text("kernel")
    run(SOFTWARE / "classes-recipe/fieldgate-image.bbclass", "fieldgate_boot_files", tmp_path, KERNEL_IMAGETYPE="bzImage")
    assert (tmp_path / "IMAGE_ROOTFS/usr/lib/fieldgate/boot/vmlinuz").read_text() == "kernel"
