"""What `fieldgate manifests` writes is what the API server takes, word for word, and stays the same."""

import json

import pytest

from fieldgate_testing.cluster.installation import dapr_manifests


def versions(system, path):
    """Of each object of a file that which only a change moves: its generation, or its resource version where it has none."""
    found = {}
    got = json.loads(system.node.kubectl("get", "-f", path, "-o", "json"))
    for item in got["items"] if got["kind"] == "List" else [got]:
        metadata = item["metadata"]
        found[f"{item['kind']} {metadata['name']}"] = metadata.get("generation", metadata["resourceVersion"])
    return found


def test_every_file_passes_the_strict_dry_run_of_the_server(system):
    files = system.appliance.files()
    assert len(files) >= 6, files
    for path in files:
        said = system.node.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)
        assert len(said.splitlines()) == len(system.appliance.objects(path)), said


def test_applying_again_changes_nothing(system):
    for path in system.appliance.files():
        before = versions(system, path)
        system.node.apply(path)
        assert versions(system, path) == before, path.name


def test_generating_again_changes_no_byte(system):
    before = {path.name: path.read_bytes() for path in system.appliance.manifests.iterdir() if path.is_file()}
    system.appliance.generate()
    assert {path.name: path.read_bytes() for path in system.appliance.manifests.iterdir() if path.is_file()} == before
    system.appliance.generate("--check")


def test_every_object_says_whose_it_is(system):
    for path in system.appliance.files():
        assert path.read_text().startswith("#"), f"{path.name} begins without saying where it comes from"
        for item in system.appliance.objects(path):
            labels = item["metadata"].get("labels", {})
            assert labels.get("app.kubernetes.io/managed-by") == "fieldgate", f"{path.name}: {item['kind']} {item['metadata']['name']}: {labels}"
            assert item["kind"] != "Secret", f"{path.name}: a Secret in a generated file"


@pytest.mark.parametrize("path", [0, 1], ids=["dapr-crds", "dapr"])
def test_the_manifests_of_dapr_pass_too(system, path):
    system.node.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", dapr_manifests()[path])
