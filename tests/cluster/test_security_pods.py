"""No pod of ours is privileged or root: by what is written, by what the kernel says of each process, and by what Kubernetes refuses."""

import json
import pathlib

import pytest

from fieldgate_testing.cluster import pods
from node.api import KubectlError

NAMESPACES = ("fieldgate", pods.DAPR)
PAUSE = "fieldgate.io/pause:1"
USER = 65532


def our_pods(system):
    found = [pod for namespace in NAMESPACES for pod in system.node.pods(namespace)]
    assert len(found) >= 6, "broker, two modules, sentry, operator and injector"
    return found


def test_no_pod_asks_for_more_than_it_needs(system):
    for pod in our_pods(system):
        spec, name = pod["spec"], f"{pod['metadata']['namespace']}/{pods.name(pod)}"
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume], name
        whole = spec.get("securityContext", {})
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = container.get("securityContext", {})
            where = f"{name}/{container['name']}: {own}"
            assert not own.get("privileged") and own.get("allowPrivilegeEscalation") is False, where
            assert own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True, where
            assert own.get("runAsUser", whole.get("runAsUser", USER)) != 0, where
            assert own.get("readOnlyRootFilesystem") is True, where
            assert own["capabilities"]["drop"] == ["ALL"] and not own["capabilities"].get("add"), where
            assert own.get("seccompProfile", whole.get("seccompProfile", {})).get("type") == "RuntimeDefault", where
            assert not [port for port in container.get("ports", []) if "hostPort" in port], where
            if pod["metadata"]["namespace"] == "fieldgate":
                assert container.get("resources", {}).get("limits", {}).get("memory"), f"{where}: no limit of memory"


def test_no_process_has_rights(system):
    """What /proc says of every process of every container."""
    seen = 0
    for pod in our_pods(system):
        for container, pids in system.node.pids(pods.name(pod), pod["metadata"]["namespace"]).items():
            for pid in pids:
                lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
                where = f"{pods.name(pod)}/{container} (pid {pid})"
                assert all(int(user) != 0 for user in status["Uid"] + status["Gid"]), f"{where}: {status['Uid']} {status['Gid']}"
                for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(status[kind][0], 16) == 0, f"{where}: {kind} {status[kind]}"
                assert status["NoNewPrivs"] == ["1"] and status["Seccomp"] == ["2"], f"{where}: {status['NoNewPrivs']} {status['Seccomp']}"
                seen += 1
    assert seen >= 9, "three sidecars and modules each, the broker with its set-up, three of Dapr"


def test_modules_have_no_token_for_the_api_server(system):
    """Only the sidecar of iothub-module asks it, for one Secret."""
    for module in ("modbus-reader", "iothub-module"):
        pod = system.module_pod(module)
        container = next(one for one in pod["spec"]["containers"] if one["name"] == module)
        mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        assert not [path for path in mounts if path.startswith("/var/run/secrets/kubernetes.io")], mounts


RIGHTS = [
    ("iothub-module", "get", "secrets/iothub", True),
    ("iothub-module", "get", "secrets/broker-keys", False),
    ("iothub-module", "list", "secrets", False),
    ("iothub-module", "get", "configmaps", False),
    ("modbus-reader", "get", "secrets/broker-modbus-reader", False),
    ("modbus-reader", "get", "secrets/iothub", False),
    ("broker", "get", "secrets/broker-keys", False),
    ("default", "get", "secrets/iothub", False),
]


@pytest.mark.parametrize(("account", "verb", "what", "allowed"), RIGHTS)
def test_accounts_read_no_secret_but_the_one(system, account, verb, what, allowed):
    user = f"system:serviceaccount:fieldgate:{account}"
    said = system.node.kubectl("auth", "can-i", verb, what, "-n", "fieldgate", "--as", user, check=False)
    assert said.strip() == ("yes" if allowed else "no")


def changed(**changes):
    """A pod that would be let in, but for one thing."""
    pod = pods.restricted_pod("refused", PAUSE)
    container = pod["spec"]["containers"][0]
    container["securityContext"].update(changes.pop("security", {}))
    pod["spec"].update(changes)
    return pod


FORBIDDEN = {
    "root": changed(security={"runAsUser": 0, "runAsNonRoot": False}),
    "privileged": changed(security={"privileged": True, "allowPrivilegeEscalation": True}),
    "capability": changed(security={"capabilities": {"drop": ["ALL"], "add": ["MKNOD"]}}),
    "no-seccomp": changed(security={"seccompProfile": {"type": "Unconfined"}}),
    "host-network": changed(hostNetwork=True),
    "host-path": changed(volumes=[{"name": "dev", "hostPath": {"path": "/dev"}}]),
}


def submit(system, pod):
    return system.node.kubectl("apply", "--dry-run=server", "-n", "fieldgate", "-f", "-", stdin=json.dumps(pod))


@pytest.mark.parametrize("what", list(FORBIDDEN))
def test_kubernetes_refuses_it(system, what):
    with pytest.raises(KubectlError, match="PodSecurity"):
        submit(system, FORBIDDEN[what])


def test_kubernetes_takes_the_same_pod_without_it(system):
    submit(system, changed())
