"""A pod gets exactly the serial port it asks for, without any privilege, and again after it was pulled out."""

import json
import subprocess
import sys

import pytest
import yaml
from modbus_peers.simulated import age

from fieldgate_testing.cluster import inside, pods
from fieldgate_testing.cluster.serial_line import GROUP, IN_CONTAINER, METER, RESOURCE, DevicePlugin, SerialLine, with_serial
from fieldgate_testing.main_job import DEVICE
from fieldgate_testing.waiting import wait_for
from node.api import KubectlError

STATE = "/var/lib/fieldgate/state"
SUBJECT = f"{METER}/{GROUP}"


def meter(system, where, what, timeout=60):
    """The first new measurement of the meter at the hub that fits."""
    after = system.newest_index()

    def look():
        found = (message["body"] for message in system.hub.messages(after=after, device=DEVICE))
        return next((event["data"] for event in found if event.get("subject") == SUBJECT and where(event["data"])), None)

    try:
        return wait_for(look, what, timeout, interval=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{system.explain()}") from None


def is_exact(data):
    """Every value is what the simulated slave held just before."""
    return bool(data["values"]) and not data["bad"] and age(METER, data, 5) is not None


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    line = SerialLine(tmp_path_factory.mktemp("line"))
    yield line
    line.close()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory, system, line):
    plugin = DevicePlugin(tmp_path_factory.mktemp("plugin"), system.node, line)
    yield plugin
    plugin.stop()


def allocatable(system):
    return system.node.get("nodes")["items"][0]["status"]["allocatable"].get(RESOURCE)


@pytest.fixture(scope="module")
def serial(system, line, plugin):
    """The appliance with a serial port: added to the description and the reader's configuration, as its user would."""
    plugin.process.wait_until(lambda: allocatable(system) == "2", "the kubelet to offer the port twice", timeout=60)
    description = system.appliance.description
    description["serial"] = [{"name": "line-1", "path": str(line.path)}]
    description["modules"]["modbus-reader"]["serial"] = ["line-1"]
    system.appliance.describe()
    system.appliance.generate()
    system.appliance.write_document("modbus-reader", yaml.safe_dump(with_serial(yaml.safe_load(system.read_configuration())), sort_keys=False))
    system.apply_all()
    system.node.wait_ready("deployment", "modbus-reader")
    return line


def try_from(system, module):
    """What a process of a module's container gets when it reaches for the port."""
    pid = system.node.pids(pods.name(system.module_pod(module)))[module][0]
    done = subprocess.run([sys.executable, inside.__file__, str(pid), IN_CONTAINER, STATE], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pod_with_the_resource_reads_the_slave(system, serial):
    meter(system, is_exact, "exact values of the slave on the line")
    told = try_from(system, "modbus-reader")
    # The reader holds it for itself alone: busy is what a device says that is there and may be opened.
    assert told["open"] in ("EBUSY", "ok") and told["mknod"] == "EPERM", told
    assert told["dev/fieldgate"] == ["serial-line-1"]


def test_a_pod_without_it_has_no_such_device_and_cannot_make_one(system, serial):
    told = try_from(system, "iothub-module")
    assert told["open"] == "ENOENT" and told["mknod"] == "EPERM", told
    assert told["dev/fieldgate"] == [] and not [name for name in told["dev"] if "serial" in name or name.startswith("tty") and name != "tty"], told
    assert not [name for name in told["dev/pts"] if name.isdigit()], "terminals of the host"


def test_a_pod_cannot_take_it_past_the_plugin(system, serial):
    pod = pods.restricted_pod("taker", "fieldgate.io/pause:1")
    pod["spec"]["volumes"] = [{"name": "line", "hostPath": {"path": str(serial.path)}}]
    with pytest.raises(KubectlError, match="hostPath"):
        system.node.kubectl("apply", "--dry-run=server", "-n", "fieldgate", "-f", "-", stdin=json.dumps(pod))


def test_the_reader_s_successor_finds_a_place_and_no_event_is_missing(system, serial):
    """Two device ids for one port: a rolling update needs both for a moment."""
    old = pods.uid(system.module_pod("modbus-reader"))
    system.node.kubectl("rollout", "restart", "deployment/modbus-reader", "-n", "fieldgate")
    system.node.wait_ready("deployment", "modbus-reader")
    assert pods.uid(system.module_pod("modbus-reader")) != old
    meter(system, is_exact, "exact values read by the successor")
    system.audit.check()


def test_unplugged_it_is_bad_with_a_reason_and_plugged_in_again_it_heals(system, serial):
    meter(system, is_exact, "exact values before")
    serial.unplug()
    bad = meter(system, lambda data: not data["values"], "bad values without the line")
    assert set(bad["bad"].values()) <= {"no-connection", "timeout", "parked"}, bad["bad"]
    wait_for(lambda: allocatable(system) == "0", "the kubelet to offer the port no more", timeout=60)
    # The others go on.
    system.fresh(lambda data: "level" in data["values"])

    old, new = serial.plug_in_elsewhere()
    assert old != new
    wait_for(lambda: allocatable(system) == "2", "the kubelet to offer the port again", timeout=60)
    meter(system, is_exact, f"exact values after {old} became {new}", timeout=180)
    told = try_from(system, "modbus-reader")
    assert told["open"] in ("EBUSY", "ok"), told
    system.fresh()
    system.audit.check()


def test_the_plugin_and_the_kubelet_find_each_other_again(system, serial, plugin):
    """Whichever of the two restarts; the reader goes on meanwhile, and a new one gets the port."""
    epoch = system.reader_epoch()
    plugin.stop()
    wait_for(lambda: allocatable(system) == "0", "the kubelet to miss the plugin", timeout=60)
    plugin.process.start()
    plugin.process.wait_until(lambda: allocatable(system) == "2", "the port to be offered after the plugin's restart", timeout=60)
    system.node.restart("kubelet")
    meter(system, lambda data: is_exact(data) and data["epoch"] == epoch, "exact values, read by the same run of the module")
    system.node.kubectl("rollout", "restart", "deployment/modbus-reader", "-n", "fieldgate")
    system.node.wait_ready("deployment", "modbus-reader")
    meter(system, lambda data: is_exact(data) and data["epoch"] != epoch, "exact values, read by its successor")


def test_at_the_end_no_pod_was_ever_without_its_sidecar(system, watch):
    system.audit.check()
    watch.check()
