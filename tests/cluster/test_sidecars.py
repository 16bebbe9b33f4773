"""A module pod never runs without its sidecar, whatever happens to the injector: it is delayed, and nothing else."""

import json

import pytest

from fieldgate_testing.cluster import pods
from fieldgate_testing.cluster.installation import DAPR_DEPLOYMENTS
from fieldgate_testing.waiting import wait_for
from node.api import KubectlError

INJECTOR = DAPR_DEPLOYMENTS["injector"]
INJECTOR_PODS = f"app={INJECTOR}"
POLICY = "fieldgate-sidecar-required"
WEBHOOKS = "mutatingwebhookconfigurations"
PAUSE = "fieldgate.io/pause:1"
ANNOTATED = pods.restricted_pod("bare", PAUSE, annotations={"dapr.io/enabled": "true", "dapr.io/app-id": "bare"})
LABELLED = pods.restricted_pod("bare", PAUSE, labels={"fieldgate.io/sidecar": "required"})
PLAIN = pods.restricted_pod("bare", PAUSE)


def denial(system, pod):
    """What the API server has against a pod; nothing when it would take it."""
    try:
        system.node.kubectl("apply", "--dry-run=server", "-n", "fieldgate", "-f", "-", stdin=json.dumps(pod))
    except KubectlError as error:
        return str(error)
    return ""


def refusals(system, module):
    """How often Kubernetes tried in vain to make a pod of the module."""
    return sum(event.get("count") or 1 for event in pods.events(system.node, about=module, reason="FailedCreate"))


def wait_refused(system, module, before):
    wait_for(lambda: refusals(system, module) > before, f"a pod of {module} to be refused", timeout=60, interval=0.2)


def healed(system, module, old):
    """The module is back with its sidecar, and delivers."""
    pod = pods.successor(system.node, pods.module_selector(module), old)
    containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    assert "daprd" in [one["name"] for one in containers]
    system.fresh()
    system.watch.check()


@pytest.mark.parametrize("module", ["modbus-reader", "iothub-module"])
def test_without_the_injector_a_pod_waits_for_it(system, module):
    node = system.node
    old = node.pods(selector=pods.module_selector(module))
    node.kubectl("scale", f"deployment/{INJECTOR}", "-n", pods.DAPR, "--replicas=0")
    try:
        wait_for(lambda: not node.pods(pods.DAPR, INJECTOR_PODS), "the injector to be gone", timeout=60, interval=0.2)
        before = refusals(system, module)
        for pod in old:
            pods.delete(node, pod)
        wait_refused(system, module, before)
        assert not [pod for pod in node.pods(selector=pods.module_selector(module)) if pods.uid(pod) not in map(pods.uid, old)]
    finally:
        node.kubectl("scale", f"deployment/{INJECTOR}", "-n", pods.DAPR, "--replicas=1")
        node.wait_ready("deployment", INJECTOR, pods.DAPR)
    healed(system, module, old)


def test_an_injector_that_restarts_again_and_again_lets_no_pod_slip_through(system):
    node = system.node
    for _ in range(3):
        old = node.pods(selector=pods.module_selector("modbus-reader"))
        # In one go, so that the pod is made while the injector is on its way out or in.
        for pod in [*node.pods(pods.DAPR, INJECTOR_PODS), *old]:
            pods.delete(node, pod, grace=0 if pod["metadata"]["namespace"] == pods.DAPR else None)
        healed(system, "modbus-reader", old)
    node.wait_ready("deployment", INJECTOR, pods.DAPR)


@pytest.fixture
def no_webhook(system):
    """Nothing asks the injector any more: what a careless clean-up of Dapr leaves behind."""
    node = system.node
    every = json.loads(node.kubectl("get", WEBHOOKS, "-o", "json"))["items"]
    ours = [item for item in every if INJECTOR in json.dumps(item["webhooks"])]
    assert ours, "no webhook configuration leads to the injector"
    for item in ours:
        node.kubectl("delete", WEBHOOKS, item["metadata"]["name"])
    # The API server asks it for a moment longer.
    wait_for(lambda: POLICY in denial(system, ANNOTATED), "the webhook to be forgotten", timeout=30, interval=0.5)
    yield
    for item in ours:
        # With the certificate authority that the injector has written into it.
        for key in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
            item["metadata"].pop(key, None)
        node.apply(json.dumps(item))


def test_without_the_webhook_the_admission_policy_denies(system, no_webhook):
    for wanting in (ANNOTATED, LABELLED):
        told = denial(system, wanting)
        assert POLICY in told and INJECTOR in told, f"the message does not say what to do: {told!r}"
    assert not denial(system, PLAIN), "the same pod, if it asks for no sidecar, is none of the policy's business"


def test_without_the_webhook_a_module_waits_too_and_is_told_why(system, no_webhook):
    node = system.node
    old = node.pods(selector=pods.module_selector("modbus-reader"))
    for pod in old:
        pods.delete(node, pod)

    # Not by events: Kubernetes leaves them out when one object has had many.
    def told():
        sets = node.get("replicasets", selector=pods.module_selector("modbus-reader"))["items"]
        conditions = [condition for one in sets for condition in one["status"].get("conditions", [])]
        return [condition["message"] for condition in conditions if condition["type"] == "ReplicaFailure" and POLICY in condition["message"]]

    wait_for(told, "the refusal with its reason in the ReplicaSet", timeout=90)


def test_after_all_that_the_module_is_back(system):
    system.module_pod("modbus-reader")
    system.fresh()
    system.watch.check()
    system.audit.check()
