"""Partitions have the same names, sizes and order wherever they are named: a device finds its root, its data and its update by these names."""

import configparser
import re
import subprocess

import pytest

from layers import IMAGE, ROOT, YOCTO, assignments, partitions, variable

WIC = YOCTO / "meta-fieldgate-bsp/files/wic"
X86, RASPBERRY_PI = WIC / "fieldgate-x86.wks.in", WIC / "fieldgate-raspberrypi.wks.in"
RPI = YOCTO / "meta-fieldgate-bsp/dynamic-layers/raspberrypi/recipes-bsp"
HOST = YOCTO / "meta-fieldgate/recipes-fieldgate/fieldgate-host"
CLASS = YOCTO / "meta-fieldgate/classes-recipe/fieldgate-image.bbclass"
UEFI, ROOT_X86, ROOT_ARM64, LINUX = (
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "b921b045-1df0-41c3-af44-4c6f280d3fae",
    "0fc63daf-8483-4772-8e79-3d69d8477de4",
)


def layout():
    """The reference image's partitions: name, MiB, type."""
    text = (IMAGE / "reference/layout").read_text()
    return [(name, int(size), kind.strip()) for name, size, kind in re.findall(r"^name=([a-z-]+), *size=(\d+)MiB, *type=(.+)$", text, re.M)]


def system_conf():
    settings = configparser.ConfigParser(delimiters="=", interpolation=None)
    settings.read_string((IMAGE / "rootfs/usr/lib/rauc/system.conf").read_text())
    return settings


def size(text):
    name = re.fullmatch(r"\$\{(FIELDGATE_[A-Z]+_MIB)\}M", text)[1]
    return int(variable(CLASS, name))


@pytest.mark.parametrize("wks, root", [(X86, ROOT_X86), (RASPBERRY_PI, ROOT_ARM64)], ids=["x86", "raspberrypi"])
def test_a_disk_is_that_of_the_reference_image(wks, root):
    types = {"uefi": UEFI, "linux": LINUX, ROOT_X86: root}
    for partition, (name, mebibytes, kind) in zip(partitions(wks), layout(), strict=True):
        assert partition["part-name"] == name
        assert size(partition["fixed-size"]) == mebibytes
        # The Pi's firmware wants the usual type of FAT.
        if not (wks == RASPBERRY_PI and name == "esp"):
            assert partition["part-type"] == types[kind]


@pytest.mark.parametrize("wks", [X86, RASPBERRY_PI], ids=["x86", "raspberrypi"])
def test_slot_a_has_the_bytes_of_the_bundle_and_slot_b_is_empty(wks):
    slots = {partition["part-name"]: partition for partition in partitions(wks)}
    assert slots["root-a"]["sourceparams"] == "file=${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.ext4"
    assert slots["root-b"]["fstype"] == "none"
    values = {name: value for name, _, value in assignments(CLASS)}
    assert values["IMAGE_TYPEDEP:wic"] == "ext4" and "ext4" in values["IMAGE_FSTYPES"].split()
    assert values["IMAGE_ROOTFS_SIZE"] == values["IMAGE_ROOTFS_MAXSIZE"].replace("${IMAGE_ROOTFS_SIZE}", values["IMAGE_ROOTFS_SIZE"])
    assert "FIELDGATE_ROOT_MIB" in values["IMAGE_ROOTFS_SIZE"]


def test_updates_go_into_partitions_that_are_there():
    names = [name for name, _, _ in layout()]
    settings = system_conf()
    slots = [settings[section] for section in settings.sections() if section.startswith("slot.rootfs.")]
    assert [slot["device"] for slot in slots] == [f"/dev/disk/by-partlabel/{name}" for name in names if name.startswith("root-")]
    assert [slot["bootname"] for slot in slots] == ["a", "b"]
    for slot in slots:
        assert slot["type"] == "ext4" and slot["device"].endswith(f"root-{slot['bootname']}")


def test_no_partition_of_a_device_is_taken_for_a_stick():
    rules = (IMAGE / "rootfs/usr/lib/udev/rules.d/99-fieldgate-medium.rules").read_text()
    spared = re.search(r'^ENV\{ID_PART_ENTRY_NAME\}=="([^"]+)", GOTO="fieldgate_end"$', rules, re.M)[1]
    assert spared.split("|") == [name for name, _, _ in layout()]


def test_a_bundle_is_for_the_machine_and_in_a_format_that_devices_take():
    bundle = {name: value for name, _, value in assignments(YOCTO / "meta-fieldgate/recipes-core/bundles/fieldgate-bundle.bb")}
    settings = system_conf()
    assert settings["system"]["compatible"].replace("@MACHINE@", "${MACHINE}") == bundle["RAUC_BUNDLE_COMPATIBLE"]
    assert bundle["RAUC_BUNDLE_FORMAT"] == "verity" and "-verity" not in settings["system"].get("bundle-formats", "")
    assert bundle["RAUC_SLOT_rootfs[adaptive]"] == "block-hash-index" and bundle["RAUC_SLOT_rootfs[fstype]"] == "ext4"
    recipe = (YOCTO / "meta-fieldgate/recipes-fieldgate/fieldgate-rauc-conf/fieldgate-rauc-conf.bb").read_text()
    assert settings["keyring"]["path"] == "/usr/lib/rauc/keyring.pem" and "/rauc/keyring.pem" in recipe


def test_rauc_knows_u_boot_on_boards_that_have_it():
    script = YOCTO / "meta-fieldgate/recipes-fieldgate/fieldgate-rauc-conf/files/u-boot.sed"
    text = subprocess.run(["sed", "-f", script, IMAGE / "rootfs/usr/lib/rauc/system.conf"], capture_output=True, text=True, check=True).stdout
    settings = configparser.ConfigParser(delimiters="=", interpolation=None)
    settings.read_string(text)
    assert settings["system"]["bootloader"] == "uboot"
    assert "handlers" not in settings, text
    wanted = {section: dict(system_conf()[section]) for section in system_conf().sections() if section.startswith(("slot.", "keyring"))}
    assert {section: dict(settings[section]) for section in wanted} == wanted


def test_the_boot_loaders_entry_starts_the_slot_that_it_is_called_after():
    entry = (IMAGE / "rootfs/usr/lib/fieldgate/boot/entry.conf").read_text()
    text = subprocess.run(["sed", "-E", "-f", HOST / "files/entry.sed"], input=entry, capture_output=True, text=True, check=True).stdout
    text = text.replace("@SLOT@", "a").replace("@NUMBER@", "1")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["linux"] == "/a/vmlinuz" and "initrd" not in lines
    options = lines["options"].split()
    assert {"root=PARTLABEL=root-a", "ro", "rauc.slot=a", "init=/usr/lib/fieldgate/preinit", "rootwait=30"} <= set(options)
    assert any(option.startswith("panic=") for option in options), "without it, a kernel that finds no root never comes to the other slot"
    boot_files = variable(YOCTO / "meta-fieldgate-distro/conf/distro/include/fieldgate-boot.inc", "IMAGE_BOOT_FILES:x86-64").split()
    assert {file.split(";")[1] for file in boot_files} >= {"a/vmlinuz", "loader/entries/fieldgate-a.conf", "loader/loader.conf", "EFI/BOOT/BOOTX64.EFI"}


def test_the_update_finds_the_kernel_where_the_image_has_it():
    backend = (IMAGE / "rootfs/usr/lib/fieldgate/rauc-backend").read_text()
    assert re.search(r"^boot=usr/lib/fieldgate/boot$", backend, re.M)
    assert "${nonarch_libdir}/fieldgate/boot/vmlinuz" in CLASS.read_text()


def test_an_update_without_an_initrd_is_made_the_next_to_start(tmp_path):
    """The backend itself, with folders in place of partitions."""
    boot = tmp_path / "run/slot-b/usr/lib/fieldgate/boot"
    entries = tmp_path / "efi/loader/entries"
    for folder in (boot, entries, tmp_path / "bin"):
        folder.mkdir(parents=True)
    (boot / "vmlinuz").write_text("kernel")
    entry = (IMAGE / "rootfs/usr/lib/fieldgate/boot/entry.conf").read_text()
    command = ["sed", "-E", "-f", HOST / "files/entry.sed"]
    (boot / "entry.conf").write_text(subprocess.run(command, input=entry, capture_output=True, text=True, check=True).stdout)
    (entries / "fieldgate-a.conf").write_text("version 1\n")
    for name in ("mount", "umount"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    backend = (IMAGE / "rootfs/usr/lib/fieldgate/rauc-backend").read_text()
    backend = backend.replace("esp=/efi", f"esp={tmp_path}/efi").replace("/run/fieldgate/slot-", f"{tmp_path}/run/slot-")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", backend, "rauc-backend", "set-primary", "b"], check=True, env=environment)
    assert (tmp_path / "efi/b/vmlinuz").read_text() == "kernel" and not (tmp_path / "efi/b/initrd").exists()
    counted = (entries / "fieldgate-b+3.conf").read_text()
    assert "linux   /b/vmlinuz\n" in counted and "version 2\n" in counted and "root=PARTLABEL=root-b " in counted
    primary = subprocess.run(["sh", "-c", backend, "rauc-backend", "get-primary"], check=True, env=environment, capture_output=True, text=True)
    assert primary.stdout.strip() == "b"


def test_fstab_mounts_what_the_disk_has():
    names = {name for name, _, _ in layout()}
    lines = [line.split() for line in (IMAGE / "rootfs/etc/fstab").read_text().splitlines() if line and line[0] != "#"]
    mounted = {line[0].removeprefix("PARTLABEL="): line for line in lines if line[0].startswith("PARTLABEL=")}
    assert set(mounted) <= names and "data" in mounted
    assert mounted["data"][1] == "/data" and "x-systemd.growfs" in mounted["data"][3]
    for device, folder, kind, *_ in lines:
        assert device.startswith(("PARTLABEL=", "/data/")) or kind == "tmpfs", f"{folder}: a device by a name that the next kernel may give another"
    assert all(line[1] != "/" for line in lines), "the root is the boot loader's to name"


def test_the_data_partition_is_last_and_grows():
    assert layout()[-1][0] == "data"
    grow = configparser.ConfigParser(delimiters="=")
    grow.optionxform = str
    grow.read_string((IMAGE / "rootfs/usr/lib/repart.d/50-data.conf").read_text())
    assert grow["Partition"]["Label"] == "data" and grow["Partition"]["Type"] == "linux-generic"
    assert "repart" in variable(YOCTO / "meta-fieldgate-distro/conf/distro/include/fieldgate-system.inc", "PACKAGECONFIG:append:pn-systemd").split()


def test_the_boot_script_counts_partitions_as_the_card_has_them():
    names = [partition["part-name"] for partition in partitions(RASPBERRY_PI)]
    script = (RPI / "fieldgate-boot-script/files/boot.cmd").read_text()
    for slot in "ab":
        number = names.index(f"root-{slot}") + 1
        assert f'if test "${{slot}}" = "{slot}"; then setenv part {number};' in script
    assert f"setenv part {names.index('root-a') + 1}\nif test \"${{BOOT_GOOD}}\" = \"b\"; then setenv part {names.index('root-b') + 1}; fi" in script
    command = re.search(r'^CONFIG_BOOTCOMMAND="(.+)"$', (RPI / "u-boot/files/start.cfg").read_text(), re.M)[1]
    assert f"mmc 0:{names.index('esp') + 1} " in command


def test_linux_and_u_boot_keep_the_environment_in_the_same_places():
    config = dict(re.findall(r"^CONFIG_(\w+)=(\w+)$", (RPI / "u-boot/files/environment.cfg").read_text(), re.M))
    lines = [line.split() for line in (RPI / "u-boot/files/fw_env.config").read_text().splitlines() if line[0] != "#"]
    assert [(int(offset, 16), int(length, 16)) for _, offset, length in lines] == [
        (int(config["ENV_OFFSET"], 16), int(config["ENV_SIZE"], 16)),
        (int(config["ENV_OFFSET_REDUND"], 16), int(config["ENV_SIZE"], 16)),
    ]
    assert {device for device, _, _ in lines} == {"/dev/mmcblk0"}
    (_, first, length), (_, second, _) = [(None, int(offset, 16), int(size_, 16)) for _, offset, size_ in lines]
    begin = int(re.fullmatch(r"(\d+)K", partitions(RASPBERRY_PI)[0]["offset"])[1]) * 1024
    assert first >= 34 * 512, "the partition table ends there"
    assert first + length <= second and second + length <= begin, "copies and first partition lie apart"


def test_every_file_of_etc_comes_to_the_device():
    """By fieldgate-host, or over what other packages bring: whoever adds one to image/rootfs/etc has to say by which."""
    own = variable(CLASS, "FIELDGATE_OWN_ETC").split()
    recipe = HOST / "fieldgate-host.bb"
    masked = variable(recipe, "MASKED_GENERATORS").split()
    etc = IMAGE / "rootfs/etc"
    for file in etc.rglob("*"):
        if file.is_dir() and not file.is_symlink():
            continue
        name = str(file.relative_to(etc))
        by_host = f"file://rootfs/etc/{name.split('/')[0]} " in recipe.read_text()
        generator = file.parent.name == "system-generators" and file.name in masked and str(file.readlink()) == "/dev/null"
        assert (name in own) + by_host + generator == 1, f"image/rootfs/etc/{name} is not on the device, or twice"
    assert not [file for file in (IMAGE / "rootfs/usr").rglob("*") if file.is_symlink() and not file.exists()], "bitbake cannot fetch a link to nowhere"


def test_root_is_as_large_as_a_bundle_writes():
    """A root that outgrows its partition is refused when it is built, not on the device."""
    values = {name: value for name, _, value in assignments(CLASS)}
    assert values["IMAGE_ROOTFS_EXTRA_SPACE"] == "0" and float(values["IMAGE_OVERHEAD_FACTOR"]) == 1
    assert (ROOT / "image/reference/layout").is_file()
