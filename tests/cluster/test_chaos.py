"""Whatever is killed, restarted, cut or replaced while telemetry runs: it comes again, and nothing is missing."""

import pytest

from fieldgate_testing.cluster import pods, reports
from fieldgate_testing.cluster.installation import DAPR_DEPLOYMENTS
from fieldgate_testing.main_job import DEVICE
from fieldgate_testing.waiting import wait_for

OUTAGE_SECONDS = 60
PAUSE = "fieldgate.io/pause:1"


def healed(system, where=lambda data: True):
    """Telemetry again, and all of it."""
    system.fresh(where)
    return system.audit.check()


@pytest.mark.parametrize("module", ["modbus-reader", "iothub-module"])
def test_a_module_that_is_deleted_comes_back(system, module):
    epoch = system.reader_epoch()
    pods.replace(system.node, pods.module_selector(module))
    healed(system, lambda data: (data["epoch"] != epoch) is (module == "modbus-reader"))


def test_the_broker_comes_back(system):
    pods.replace(system.node, pods.module_selector("broker"))
    healed(system)


@pytest.mark.parametrize("part", list(DAPR_DEPLOYMENTS))
def test_a_part_of_dapr_that_is_deleted_comes_back(system, part):
    pods.replace(system.node, f"app={DAPR_DEPLOYMENTS[part]}", pods.DAPR)
    system.node.wait_ready("deployment", DAPR_DEPLOYMENTS[part], pods.DAPR)
    healed(system)


@pytest.mark.parametrize("part", ["kubelet", "containerd"])
def test_the_node_s_own_parts_restart(system, part):
    before = {pods.uid(pod) for pod in system.node.pods()}
    epoch = system.reader_epoch()
    system.node.restart(part)
    healed(system, lambda data: data["epoch"] == epoch)
    system.installation.wait_ready()
    assert {pods.uid(pod) for pod in system.node.pods()} == before, "pods were replaced"


def test_a_minute_without_the_hub_is_made_up_for(system):
    system.hub.fault("down", seconds=OUTAGE_SECONDS)
    wait_for(lambda: not connected(system), "the module to lose the hub")
    arrived = system.newest_index()
    wait_for(lambda: not system.hub.json("GET", "/faults"), "the end of the outage", timeout=OUTAGE_SECONDS + 30)
    wait_for(lambda: connected(system), "the module to be connected again", timeout=60)
    healed(system)
    # 10 events a second, half of them at the least
    assert system.newest_index() - arrived > OUTAGE_SECONDS * 5, "the time of the outage is not in what arrived"


def connected(system):
    return next(one for one in system.hub.json("GET", "/devices") if one["deviceId"] == DEVICE)["connected"]


def image_of(system, module):
    containers = system.node.get("deployment", module)["spec"]["template"]["spec"]["containers"]
    return next(one["image"] for one in containers if one["name"] == module)


def set_image(system, module, image):
    system.node.kubectl("set", "image", f"deployment/{module}", f"{module}={image}", "-n", "fieldgate")


@pytest.mark.parametrize("module", ["modbus-reader", "iothub-module"])
def test_a_module_rolls_to_a_new_image_and_back(system, module):
    node = system.node
    image = image_of(system, module)
    new = f"{image}-next"
    node.retag_image(image, new)
    old = pods.uid(system.module_pod(module))
    set_image(system, module, new)
    node.wait_ready("deployment", module)
    pod = system.module_pod(module)
    assert pods.uid(pod) != old and any(one["image"] == new for one in pod["spec"]["containers"])
    healed(system)
    node.apply(system.appliance.manifests / f"{module}.yaml")
    node.wait_ready("deployment", module)
    assert image_of(system, module) == image
    healed(system)


BROKEN = [("modbus-reader", "absent"), ("modbus-reader", "ends"), ("modbus-reader", "hangs"), ("iothub-module", "hangs")]


@pytest.mark.parametrize(("module", "how"), BROKEN)
def test_an_image_that_never_becomes_ready_replaces_nothing(system, module, how):
    node = system.node
    image = image_of(system, module)
    new = f"{image}-{how}"
    if how != "absent":
        # A program that does not know our arguments, and one that does nothing at all.
        node.retag_image(broker_image(system) if how == "ends" else PAUSE, new)
    old = system.module_pod(module)
    epoch = system.reader_epoch()
    set_image(system, module, new)
    try:
        wait_for(lambda: has_failed(system, module, old), "the new pod to fail", timeout=120, interval=0.5)
        assert pods.uid(old) in map(pods.uid, pods.ready_pods(node, pods.module_selector(module))), "the pod that worked is gone"
        healed(system, lambda data: data["epoch"] == epoch)
    finally:
        node.kubectl("rollout", "undo", f"deployment/{module}", "-n", "fieldgate")
        node.wait_ready("deployment", module)
    assert pods.uid(system.module_pod(module)) == pods.uid(old)
    healed(system, lambda data: data["epoch"] == epoch)


def broker_image(system):
    containers = system.node.get("statefulset", "broker")["spec"]["template"]["spec"]["containers"]
    return next(one["image"] for one in containers if one["name"] != "setup")


def has_failed(system, module, old):
    """There is a new pod, and Kubernetes has noticed that it does not work."""
    for pod in system.node.pods(selector=pods.module_selector(module)):
        if pods.uid(pod) == pods.uid(old):
            continue
        assert not pods.is_ready(pod), f"{pods.name(pod)} is ready"
        for status in pod["status"].get("containerStatuses", []):
            if status["name"] == module and (status["restartCount"] or "Err" in waiting_for(status) or "BackOff" in waiting_for(status)):
                return True
        unhealthy = pods.events(system.node, about=pods.name(pod), reason="Unhealthy")
        if any(f"{{{module}}}" in event["involvedObject"].get("fieldPath", "") for event in unhealthy):
            return True
    return False


def waiting_for(status):
    return status["state"].get("waiting", {}).get("reason", "")


def test_at_the_end_nothing_is_missing(system, capsys):
    figures = healed(system)
    path = reports.write("chaos", figures)
    with capsys.disabled():
        print(f"\nchaos (kept in {path}): {figures}")
    assert figures["missing"] == 0 and figures["gaps"] == 0
    assert figures["overlaps"] == 0, f"two readers worked at once: {system.audit.overlaps()}"
    assert figures["epochs"] >= 3, "the reader was never replaced"
    system.watch.check()
