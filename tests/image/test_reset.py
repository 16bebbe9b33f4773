"""A factory reset: what it says goes is gone, what it says stays is there, and the device starts anew by itself."""

from fieldgate_testing import main_job
from fieldgate_testing.waiting import wait_for

HOST_KEY = "/data/etc/ssh/ssh_host_ed25519_key.pub"


def test_a_reset_keeps_what_it_was_told_to_and_nothing_else(system):
    guest = system.guest
    host_key, machine_id = guest.ssh(f"cat {HOST_KEY}"), guest.ssh("cat /etc/machine-id")
    ca = guest.ssh("cat /var/lib/rancher/k3s/server/tls/server-ca.crt")
    # One start that resets, which may take minutes, and one as a new device.
    boot = len(guest.stages()) + 2
    guest.ssh("touch /data/somebody-left-this; fieldgate reset --preserve name,ssh --yes", check=False)
    for starts, what in ((boot - 1, "the start that resets"), (boot, "the start as a new device")):
        wait_for(lambda starts=starts: len(guest.stages()) >= starts, what, timeout=900, interval=1)
    guest.wait_stage("system", boot=boot)

    # SSH starts beside what tells the stages.
    wait_for(lambda: guest.ssh("echo there", check=False), "SSH", timeout=180, interval=2)
    # The key that may come in and the device's own are the same: the connection is trusted as before.
    assert guest.ssh(f"cat {HOST_KEY}") == host_key
    assert guest.ssh("hostname").strip() == main_job.APPLIANCE
    assert guest.ssh("ls /data/somebody-left-this 2>&1", check=False).endswith("No such file or directory\n")
    assert guest.ssh("cat /etc/machine-id") != machine_id
    assert guest.ssh("ls /data/fieldgate/provision/secrets 2>/dev/null", check=False) == ""
    guest.wait_stage("api", boot=boot)
    assert guest.ssh("cat /var/lib/rancher/k3s/server/tls/server-ca.crt") != ca
    # The demonstration until it is provisioned again; the file on the boot partition, whose secrets are taken, is not enough.
    assert "/usr/share/fieldgate/demo" in guest.ssh("/usr/lib/fieldgate/description")
