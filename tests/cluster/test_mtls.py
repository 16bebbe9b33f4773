"""Dapr's authority lasts a year: it is renewed while everything works, and also when it has ended already."""

import base64
import json
import subprocess

import pytest

from fieldgate_testing import main_job
from fieldgate_testing.cluster import pods
from fieldgate_testing.cluster.installation import DAPR_DEPLOYMENTS, MODULES
from fieldgate_testing.main_job import COIL, DEVICE
from fieldgate_testing.waiting import wait_for

BUNDLE = "dapr-trust-bundle"
SENTRY = f"app={DAPR_DEPLOYMENTS['sentry']}"
# openssl 3.0 sets a validity in the past by its command `ca` alone.
ENDED = """[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
x509_extensions = authority
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""


def anchors(system):
    return system.node.get("configmap", BUNDLE, pods.DAPR)["data"].get("ca.crt")


def renew(system, *options):
    """As on a device; returns when everything has certificates of the new authority."""
    before = anchors(system)
    system.installation.secrets("renew-mtls", *options, timeout=600)
    now = anchors(system)
    assert now and now != before
    for module in MODULES:
        containers = system.module_pod(module)["spec"]["initContainers"]
        variables = next(one for one in containers if one["name"] == "daprd")["env"]
        assert next(one["value"] for one in variables if one["name"] == "DAPR_TRUST_ANCHORS").strip() == now.strip(), module


def check_calls(system):
    """Telemetry, and a command through both sidecars: over mTLS, and allowed by who the caller is."""
    system.fresh()
    for value in (True, False):
        answer = system.hub.call(DEVICE, "modbus-reader.write", {"device": "plc", "tag": "pump", "value": value})
        assert answer["status"] == 200, f"{answer}\n{system.explain()}"
        assert bool(system.plc.get(1, "coil", COIL)[0]) is value
    main_job.test_a_method_that_is_not_allowed_is_refused_and_reaches_nobody(system)
    system.audit.check()
    system.watch.check()


def test_an_authority_that_lasts_is_left_alone_by_the_timer(system):
    before = anchors(system)
    system.installation.secrets("renew-mtls", "--within", 60)
    assert anchors(system) == before


def test_a_new_authority_while_everything_works(system):
    renew(system)
    check_calls(system)


@pytest.fixture
def ended(tmp_path):
    """What Dapr keeps of an authority, of one that ended years ago: a root, and the issuer that it has signed."""

    def openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    (tmp_path / "ca.cnf").write_text(ENDED)
    (tmp_path / "index.txt").write_text("")
    (tmp_path / "serial").write_text("01\n")
    for name, signing in (("root", ["-selfsign", "-keyfile", "root.key"]), ("issuer", ["-cert", "root.crt", "-keyfile", "root.key"])):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        openssl("req", "-new", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
        validity = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]
        openssl("ca", "-batch", "-notext", "-config", "ca.cnf", *signing, "-in", f"{name}.csr", "-out", f"{name}.crt", *validity)
    return {key: (tmp_path / name).read_text() for key, name in (("ca.crt", "root.crt"), ("issuer.crt", "issuer.crt"), ("issuer.key", "issuer.key"))}


def test_an_authority_that_has_ended_is_replaced_in_the_same_way(system, ended):
    node = system.node
    coded = {name: base64.b64encode(text.encode()).decode() for name, text in ended.items()}
    for kind, data in (("secret", coded), ("configmap", {"ca.crt": ended["ca.crt"]})):
        node.kubectl("patch", kind, BUNDLE, "-n", pods.DAPR, "--type", "merge", "--patch", json.dumps({"data": data}))
    for pod in node.pods(pods.DAPR, SENTRY):
        pods.delete(node, pod)

    def told():
        """Sentry ends at once, and says why."""
        logs = [node.kubectl("logs", pods.name(pod), "-n", pods.DAPR, *more, check=False) for pod in node.pods(pods.DAPR, SENTRY) for more in ([], ["--previous"])]
        assert any("expired" in log for log in logs), logs
        return True

    wait_for(told, "sentry to say that its authority has ended", timeout=120, interval=0.5)
    assert not pods.ready_pods(node, SENTRY, pods.DAPR)
    renew(system, "--within", 60)
    check_calls(system)
