"""k3s itself as it is on a device: our settings are in force, nothing is fetched, what is installed twice is there once, and all of it comes off."""

import json

from fieldgate_testing.cluster import pods, reports
from fieldgate_testing.cluster.installation import MODULES
from fieldgate_testing.waiting import wait_for
from node.k3s import DATA

OURS = "app.kubernetes.io/part-of=fieldgate"
KEPT = DATA.parents[1] / "fieldgate/kept-manifests"
# What k3s deploys by itself and a gateway does not need.
DISABLED = ("traefik", "metrics-server", "local-path-provisioner")


def names(node, kind, namespace):
    return {item["metadata"]["name"] for item in node.get(kind, namespace=namespace)["items"]}


def test_what_a_gateway_does_not_need_is_off(system):
    node = system.node
    wait_for(lambda: not names(node, "deployments", "kube-system") & set(DISABLED), f"{', '.join(DISABLED)} to be gone", timeout=120, interval=1)
    wait_for(lambda: all(name.startswith("coredns") for name in names(node, "pods", "kube-system")), "their pods to be gone", timeout=120, interval=1)
    found = {pod["metadata"]["namespace"] for pod in json.loads(node.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]}
    assert found == {"fieldgate", pods.DAPR, "kube-system"}


def test_the_settings_of_the_kubelet_are_in_force(system):
    told = json.loads(system.node.kubectl("get", "--raw", "/api/v1/nodes/gate/proxy/configz"))["kubeletconfig"]
    wanted = {"syncFrequency": "10s", "nodeLeaseDurationSeconds": 180, "maxPods": 60, "containerLogMaxSize": "2Mi", "imageMinimumGCAge": "168h0m0s"}
    assert {key: told[key] for key in wanted} == wanted


def test_secrets_are_encrypted_in_the_database(system):
    system.node.kubectl("create", "secret", "generic", "written", "-n", "default", "--from-literal=word=kept-from-the-database")
    stored = b"".join(path.read_bytes() for path in (DATA / "server/db").glob("state.db*"))
    assert b"/registry/secrets/default/written" in stored and b"kept-from-the-database" not in stored


def test_an_image_that_is_not_here_is_an_error_at_once_and_nobody_is_asked(system):
    node = system.node
    for image in ("docker.io/library/absent:1", "fieldgate.io/absent:1"):
        node.apply(json.dumps(pods.restricted_pod("absent", image)), "default")
        try:
            said = wait_for(lambda: [event["message"] for event in pods.events(node, "default", "absent", "Failed") if "pull" in event["message"]], "the failure", timeout=60)
            assert all("127.0.0.1:1: connect: connection refused" in message for message in said), said
        finally:
            node.kubectl("delete", "pod", "absent", "-n", "default", "--grace-period=0", "--force")
            node.kubectl("delete", "events", "--all", "-n", "default")


def test_a_start_imports_no_image_again_and_everything_goes_on(system):
    node = system.node
    epoch = system.reader_epoch()
    mark = len(node.main.log())
    node.restart("k3s")
    system.fresh(lambda data: data["epoch"] == epoch)
    said = node.main.log()[mark:]
    assert "Importing images" not in said and "Imported images" not in said, said
    system.audit.check()


def test_installing_again_changes_nothing(system):
    before = {pods.uid(pod) for namespace in ("fieldgate", pods.DAPR) for pod in system.node.pods(namespace)}
    # The serial port of the tests before.
    system.installation.install()
    told = system.installation.install()
    assert "wrote" not in told and "restart" not in told, told
    system.fresh()
    assert {pods.uid(pod) for namespace in ("fieldgate", pods.DAPR) for pod in system.node.pods(namespace)} == before


def test_the_time_and_memory_of_it_are_on_record(system, stages, capsys):
    path = reports.write("k3s", {"seconds_since_start": stages.seconds})
    with capsys.disabled():
        print(f"\nk3s, installed (kept in {path}): {stages.seconds}")


def test_taken_off_it_leaves_k3s_and_what_is_the_user_s(system):
    node = system.node
    document = system.read_configuration()
    system.leave_broker()
    claims = names(node, "persistentvolumeclaims", "fieldgate")
    told = system.installation.uninstall()
    node.restart("k3s")

    assert not node.kubectl("get", "deployments,statefulsets,services,configmaps,components,networkpolicies", "-n", "fieldgate", "-l", OURS, "-o", "name", check=False).strip(), told
    wait_for(lambda: not node.pods(), "every pod to be gone", timeout=120, interval=0.5)
    wait_for(lambda: pods.DAPR not in names(node, "namespaces", "default"), "Dapr to be gone", timeout=120, interval=0.5)
    assert "dapr.io" not in node.kubectl("get", "crd", "-o", "name")
    assert names(node, "persistentvolumeclaims", "fieldgate") == claims and "iothub" in names(node, "secrets", "fieldgate")
    assert node.volumes.is_dir() and (node.volumes / "data-broker-0/jetstream").is_dir()
    assert document.strip() in "\n".join(path.read_text().replace("\n    ", "\n") for path in KEPT.glob("modbus-reader-configuration.yaml"))
    assert not list(DATA.glob("agent/images/fieldgate-*")) and not (DATA / "server/manifests/dapr.yaml").exists()


def test_installed_again_it_goes_on_with_what_was_kept(system):
    node = system.node
    told = system.installation.install(status=1)
    assert "restored" in told, told
    node.restart("k3s")
    system.installation.install()
    for path in system.appliance.files():
        node.apply(path)
    system.installation.wait_ready()
    system.fresh()
    assert set(MODULES) <= names(node, "deployments", "fieldgate")
