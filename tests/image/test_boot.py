"""A provisioned device, from its first start to its second: it is as its provisioning file says, works without a network, keeps what is its own, and
shows nobody more than it has to."""

import datetime
import json
import re
from collections import Counter

from fieldgate_testing import main_job
from fieldgate_testing.cluster import pods, reports
from fieldgate_testing.cluster.installation import MODULES
from fieldgate_testing.main_job import *  # noqa: F403
from fieldgate_testing.waiting import wait_for

# Checks of the main job that need what is not outside: the broker's stream, a changed document.
for _name in (
    "test_nothing_is_missing_or_doubled",
    "test_a_desired_property_arrives_as_a_config_event",
    "test_the_status_of_a_module_is_a_reported_property",
    "test_a_message_from_the_cloud_arrives_as_a_command_event_and_is_completed",
    "test_a_poison_event_ends_as_a_dead_letter_with_its_reason",
    "test_a_method_call_to_a_device_that_is_not_there_says_so",
):
    del globals()[_name]
ADDRESS, SSH = "10.0.2.15", 22


def test_every_stage_of_the_first_start_is_on_record(system, capsys):
    times = system.guest.wait_stage("running")
    path = reports.write("image-first-boot", {"seconds": times})
    with capsys.disabled():
        print(f"\nfirst boot, seconds since the kernel began (kept in {path}): {times}")


def test_the_data_partition_has_grown_to_the_end_of_the_disk(guest):
    size = int(guest.ssh("findmnt --noheadings --bytes --output SIZE /data"))
    assert guest.disk.begun_with < 300 << 20
    assert size > 4 << 30, f"/data has {size >> 20} MiB"


def test_the_device_is_as_its_provisioning_file_says(system, guest):
    assert guest.ssh("hostname").strip() == main_job.APPLIANCE
    assert guest.ssh("kubectl get nodes -o jsonpath='{.items[*].metadata.name}'") == main_job.APPLIANCE
    assert guest.ssh("date +%Z").strip() in ("CET", "CEST")
    said = guest.ssh("fieldgate provision --status")
    assert "applied" in said, said


def test_no_secret_is_left_on_the_boot_partition(system, guest):
    key = system.connection_string.rpartition("SharedAccessKey=")[2]
    secrets = "/data/fieldgate/provision/secrets"
    assert key in guest.ssh(f"cat {secrets}/hub-connection-string")
    assert guest.ssh(f"stat -c %a {secrets} {secrets}/hub-connection-string").split() == ["700", "600"]
    # The check sees what it looks for.
    assert guest.disk.holds("esp", "connection_string: ")
    assert not guest.disk.holds("esp", key)


def test_the_root_is_read_only_and_only_what_is_meant_to_be_is_not(guest):
    assert "ro" in guest.ssh("findmnt --noheadings --output OPTIONS /").strip().split(",")
    assert guest.ssh("touch /etc/x /usr/x 2>&1 || echo refused").strip().endswith("refused")
    # Bound from the data partition; what is not here is in memory.
    found = guest.ssh("findmnt --noheadings --list --output TARGET,SOURCE,FSTYPE --types ext4,vfat,overlay | grep -v /run/k3s/").split("\n")
    writable = {line.split()[0] for line in found if line and line.split()[0] != "/" and "/kubelet/pods/" not in line}
    # Bound over files of the root by preinit: memory.
    etc = {"/efi", "/etc/fieldgate", "/etc/rancher", "/etc/systemd/network", "/etc/systemd/timesyncd.conf.d"}
    assert writable == {"/data", *etc, "/var/lib/rancher/k3s", "/var/lib/kubelet", "/var/lib/fieldgate", "/var/lib/systemd"}


def test_dapr_and_modules_are_ready_with_their_sidecars(system, guest):
    system.wait_ready()
    for module in MODULES:
        pod = pods.the_pod(guest, pods.module_selector(module))
        sidecars = {status["name"]: status["ready"] for status in pod["status"]["initContainerStatuses"]}
        assert sidecars["daprd"] is True, sidecars


def test_everything_has_room_in_two_gibibytes(system, guest, capsys):
    system.wait_ready()
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", guest.ssh("cat /proc/meminfo"), re.MULTILINE))
    total, available = (int(memory[name]) >> 10 for name in ("MemTotal", "MemAvailable"))
    # Proportional, so that what is shared counts once.
    shares = guest.ssh("for p in /proc/[0-9]*; do echo \"$(awk '/^Pss:/ { print $2 }' $p/smaps_rollup 2>/dev/null) $(cat $p/comm 2>/dev/null)\"; done")
    by_program = Counter()
    for line in shares.splitlines():
        size, _, program = line.strip().partition(" ")
        if size.isdigit():
            by_program[program] += int(size)
    largest = {program: size >> 10 for program, size in by_program.most_common(12)}
    path = reports.write("image-memory", {"total_mib": total, "available_mib": available, "pss_mib": largest})
    with capsys.disabled():
        print(f"\nmemory (kept in {path}): {available} of {total} MiB available; MiB by program: {largest}")
    assert total < 2048 and available > 256


def test_no_unit_has_failed(guest):
    assert guest.ssh("systemctl list-units --failed --plain --no-legend") == ""
    assert guest.ssh("systemctl is-system-running", check=False).strip() in ("running", "starting")


def test_no_account_has_a_password(guest):
    accounts = dict(line.split(":")[:2] for line in guest.ssh("cat /etc/shadow").splitlines())
    assert "root" in accounts and all(password[:1] in ("*", "!") for password in accounts.values()), accounts
    assert all(line.split(":")[1] == "x" for line in guest.ssh("cat /etc/passwd").splitlines())
    said = guest.ssh("/usr/sbin/sshd -T | grep -iE '^(passwordauthentication|kbdinteractiveauthentication|permitrootlogin|permitemptypasswords) '")
    assert set(said.splitlines()) == {"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin without-password", "permitemptypasswords no"}


def test_from_outside_only_ssh_answers(guest, wire):
    assert wire.open_ports(ADDRESS) == {SSH}
    # The scan would have seen more: these listen on every address.
    listening = guest.ssh("ss --no-header --tcp --listening --numeric")
    assert "*:6443" in listening and "*:10250" in listening, listening


def identity(guest):
    """What makes the device the same one after a restart."""
    files = "/etc/machine-id /etc/hostname /data/etc/node.env /data/etc/ssh/ssh_host_ed25519_key.pub /etc/rancher/node/password"
    return guest.ssh(f"cat {files}; hostname; kubectl get nodes -o jsonpath='{{.items[*].metadata.uid}}'")


def test_what_a_plant_opens_is_open_and_a_mistake_closes_nothing_else(guest):
    folder = "/etc/fieldgate/firewall.d"
    guest.ssh(f"mkdir -p {folder}")
    guest.ssh(f"cat >{folder}/10-plant.nft", stdin="add rule inet fieldgate input tcp dport 4840 accept\n")
    guest.ssh(f"cat >{folder}/20-wrong.nft", stdin='add rule inet fieldgate input iif "enp9s9" tcp dport 4841 accept\n')
    table = "/usr/sbin/nft list table inet fieldgate"
    try:
        before = guest.ssh(table)
        guest.ssh("systemctl reload fieldgate-firewall", check=False)
        assert guest.ssh(table) == before, "a reload with a mistake changes nothing"
        guest.ssh("systemctl restart fieldgate-firewall", check=False)
        now = guest.ssh(table)
        assert "dport 4840 accept" in now and "4841" not in now and "policy drop" in now
        assert "20-wrong.nft" in guest.ssh("systemctl status fieldgate-firewall", check=False)
    finally:
        guest.ssh(f"rm -r {folder}; systemctl reload-or-restart fieldgate-firewall")
    assert guest.ssh(table) == before


def test_a_start_that_fails_is_tried_again(guest):
    """As systemd understood it. To begin the emergency would end sysinit.target and with it everything else."""
    found = guest.ssh("systemctl show --property=ExecStart,Type,StandardInput emergency.service")
    assert found.count("path=") == 1 and "sleep 300; exec systemctl --force reboot" in found, found
    assert "Type=simple" in found and "StandardInput=null" in found, found
    found = guest.ssh("systemctl show --property=JobTimeoutUSec,JobTimeoutAction basic.target").split()
    assert set(found) == {"JobTimeoutUSec=30min", "JobTimeoutAction=reboot-force"}


def test_of_a_disk_on_usb_the_device_s_own_partitions_are_no_stick(guest):
    rules = "/usr/lib/udev/rules.d/99-fieldgate-medium.rules"
    guest.ssh(f"udevadm verify --no-summary {rules}")
    on_usb = "/run/udev/rules.d/98-test.rules"

    def wanted(partition, more=""):
        guest.ssh(f"cat >{on_usb}", stdin=f'ENV{{ID_BUS}}="usb"{more}\n')
        path = guest.ssh(f"udevadm info --query=path /dev/disk/by-partlabel/{partition}").strip()
        return "fieldgate-medium@" in guest.ssh(f"udevadm test --action=add {path} 2>&1")

    guest.ssh("mkdir -p /run/udev/rules.d")
    try:
        assert not any(wanted(name) for name in ("esp", "root-a", "root-b", "data"))
        # The test sees one that is none of them.
        assert wanted("data", ', ENV{ID_PART_ENTRY_NAME}="photos"')
    finally:
        guest.ssh(f"rm -f {on_usb}")


def test_old_certificates_are_renewed_by_a_new_start_of_k3s(system, guest):
    started = "systemctl show --value --property=ActiveEnterTimestampMonotonic k3s"
    before = guest.ssh(started)
    guest.ssh("systemctl start fieldgate-certificates")
    assert guest.ssh(started) == before, "they are new"
    # The stand-in has none of its own.
    certificate = "/var/lib/rancher/k3s/server/tls/client-admin.crt"
    there = guest.ssh(f"test -e {certificate} && echo yes || echo no").strip() == "yes"
    if there:
        guest.ssh(f"touch -d '300 days ago' {certificate}")
        guest.ssh("systemctl start fieldgate-certificates", timeout=900)
        assert guest.ssh(started) != before, guest.ssh("journalctl --unit fieldgate-certificates --no-pager")
        guest.ssh(f"touch {certificate}")
        system.wait_ready()
    said = guest.ssh("systemctl show --value --property=Result fieldgate-certificates").strip()
    assert said == "success", guest.ssh("journalctl --unit fieldgate-certificates --no-pager")


def test_the_second_start_imports_nothing_and_goes_on(system, guest, capsys):
    before = identity(guest)
    status = guest.ssh("cat /data/fieldgate/provision/status.json")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}}
    guest.ssh("cat >/var/lib/rancher/k3s/server/manifests/my-own.yaml", stdin=json.dumps(manifest))
    wait_for(lambda: guest.kubectl("get", "configmap", "kept", "-n", "default", "--ignore-not-found", "-o", "name"), "the user's own manifest", timeout=120, interval=2)
    assert "Importing images" in guest.ssh("journalctl -u k3s --no-pager")

    begun = datetime.datetime.now(datetime.timezone.utc)
    guest.ssh("systemctl reboot", check=False)
    times = guest.wait_stage("running", boot=2)
    path = reports.write("image-second-boot", {"seconds": times})
    with capsys.disabled():
        print(f"\nsecond boot (kept in {path}): {times}")
    main_job.telemetry(system, lambda data: datetime.datetime.fromisoformat(data["timestamp"]) > begun and data["sequence"] > 1, timeout=300)

    log = guest.ssh("journalctl -u k3s --no-pager")
    assert "Importing images" not in log and "Imported images" not in log
    assert identity(guest) == before
    # The same provisioning file, whose secrets are gone, changed nothing.
    assert guest.ssh("cat /data/fieldgate/provision/status.json") == status
    assert guest.ssh("ls /var/lib/rancher/k3s/server/manifests/my-own.yaml")
    assert guest.ssh("systemctl list-units --failed --plain --no-legend") == ""
