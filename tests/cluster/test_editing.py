"""A person edits the manifests on the device: what is theirs takes effect and stays, what is not is told."""

import re

import pytest
import yaml

from fieldgate_testing import main_job
from fieldgate_testing.cluster import pods
from fieldgate_testing.cluster.appliance import replace_file
from fieldgate_testing.waiting import wait_for

MODULE = "modbus-reader"


@pytest.fixture
def configuration(system):
    """The user's manifest file; put back and in force again afterwards."""
    path = system.appliance.configuration_file(MODULE)
    text = path.read_text()
    yield path
    if path.read_text() != text:
        replace_file(path, text)
        system.apply_configuration()
        system.fresh(lambda data: "level" in data["values"], timeout=system.patience)
        main_job.wait_reported(system, "in-force", "the first configuration")


def edit(path, old, new):
    """One word for another, as with an editor."""
    text = path.read_text()
    assert old in text, f"{path.name} does not say {old!r}"
    replace_file(path, text.replace(old, new))


def test_a_changed_tag_takes_effect_and_no_event_is_lost(system, configuration):
    before = system.fresh()["body"]["data"]
    edit(configuration, "name: level", "name: fill-level")
    system.apply_configuration()
    after = system.fresh(lambda data: "fill-level" in data["values"], timeout=system.patience)["body"]["data"]
    assert "level" not in after["values"] and "level" not in after["bad"]
    assert after["epoch"] == before["epoch"], "the module was started anew for a change of its configuration"
    assert after["sequence"] > before["sequence"]
    system.audit.check()


def test_an_invalid_edit_is_refused_with_its_reason_and_the_old_one_stays(system, configuration):
    mark = system.broker.mark()
    edit(configuration, "table: holding-register", "table: holding-registers")
    system.apply_configuration()
    status = main_job.wait_reported(system, "rejected", "the refused configuration")
    errors = status["configuration"]["errors"]
    assert any("holding-registers" in error for error in errors), errors
    assert all(re.search(r"\b\d+:\d+: ", error) for error in errors), f"an error without line and column: {errors}"

    def refused(event):
        return event.data["module"] == MODULE and event.data["configuration"]["state"] == "rejected"

    system.broker.wait_for("status", refused, "the event about the refusal", mark, explain=system.explain)
    data = system.fresh()["body"]["data"]
    assert "level" in data["values"], "the old configuration is not in force"
    system.audit.check()


def test_generating_anew_keeps_what_the_user_wrote(system, configuration):
    edit(configuration, "name: level", "name: mine")
    mine = configuration.read_bytes()
    override = system.appliance.manifests / f"{MODULE}.yaml.override"
    change = {"spec": {"template": {"spec": {"containers": [{"name": MODULE, "resources": {"limits": {"memory": "77Mi"}}}]}}}}
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": MODULE}}
    override.write_text(yaml.safe_dump({**head, **change}, sort_keys=False))
    generated = system.appliance.manifests / f"{MODULE}.yaml"
    original = generated.read_bytes()
    try:
        for _ in range(2):
            system.appliance.generate()
            assert configuration.read_bytes() == mine and override.exists()
            assert memory_limit(deployment(system)) == "77Mi"
        assert not any(path.name.endswith(".override") for path in system.appliance.files()), "kubectl and k3s would apply the override by itself"
        system.node.apply(generated)
        system.node.wait_ready("deployment", MODULE)
        pod = system.module_pod(MODULE)
        assert next(one for one in pod["spec"]["containers"] if one["name"] == MODULE)["resources"]["limits"]["memory"] == "77Mi"
        system.fresh()
    finally:
        override.unlink()
        system.appliance.generate()
        assert generated.read_bytes() == original
        system.node.apply(generated)
        system.node.wait_ready("deployment", MODULE)


def deployment(system):
    """That of modbus-reader, as it is written in its file."""
    return next(item for item in system.appliance.objects(system.appliance.manifests / f"{MODULE}.yaml") if item["kind"] == "Deployment")


def memory_limit(item):
    return next(one for one in item["spec"]["template"]["spec"]["containers"] if one["name"] == MODULE)["resources"]["limits"]["memory"]


def test_an_edit_inside_a_generated_file_is_told_and_not_overwritten(system):
    path = system.appliance.manifests / f"{MODULE}.yaml"
    original = path.read_text()
    limit = memory_limit(deployment(system))
    edit(path, f"memory: {limit}", "memory: 99Mi")
    edited = path.read_text()
    try:
        for options in ((), ("--check",)):
            done = system.appliance.generate(*options, check=False)
            told = done.stdout + done.stderr
            assert done.returncode == 1, told
            assert path.name in told and "memory" in told, told
            assert path.read_text() == edited
    finally:
        replace_file(path, original)
    system.appliance.generate("--check")


def test_adopting_an_edit_moves_it_into_the_override(system):
    path = system.appliance.manifests / f"{MODULE}.yaml"
    override = path.with_name(path.name + ".override")
    original = path.read_text()
    edit(path, f"memory: {memory_limit(deployment(system))}", "memory: 99Mi")
    try:
        system.appliance.generate("--adopt")
        assert "99Mi" in override.read_text()
        assert memory_limit(deployment(system)) == "99Mi"
        system.appliance.generate("--check")
    finally:
        override.unlink(missing_ok=True)
        replace_file(path, original)
        system.appliance.generate()
    assert path.read_text() == original


def test_a_pod_that_starts_with_a_refused_document_replaces_nothing(system, configuration):
    before = system.reader_epoch()
    edit(configuration, "table: holding-register", "table: holding-registers")
    system.apply_configuration()
    main_job.wait_reported(system, "rejected", "the refused configuration")
    system.node.kubectl("rollout", "restart", f"deployment/{MODULE}", "-n", "fieldgate")
    try:
        wait_for(lambda: broken_containers(system), "the new pod to refuse the document", timeout=120, interval=0.5)
        assert system.reader_epoch() == before
    finally:
        system.node.kubectl("rollout", "undo", f"deployment/{MODULE}", "-n", "fieldgate")
        system.node.wait_ready("deployment", MODULE)
    assert system.reader_epoch() == before


def broken_containers(system):
    """Module containers that have ended, with what they ended."""
    found = []
    for pod in system.node.pods(selector=pods.module_selector(MODULE)):
        for status in pod["status"].get("containerStatuses", []):
            ended = status.get("lastState", {}).get("terminated") or status.get("state", {}).get("terminated")
            if status["name"] == MODULE and ended:
                found.append((pods.name(pod), ended["exitCode"]))
    return found
