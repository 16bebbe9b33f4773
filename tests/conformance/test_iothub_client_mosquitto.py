"""iothub-client against mosquitto: a broker that shares no code with us, with TLS by OpenSSL.

The client is `examples/send_numbered` of the crate: numbered messages, sent again from the first without PUBACK after a lost connection. What
arrives is read by a subscriber of the Eclipse Paho project. What was received and acknowledged is also in the broker's own log.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading

import paho.mqtt.client as mqtt
import pytest

from fieldgate_testing.process import BIN, Process, free_ports, listens
from fieldgate_testing.waiting import wait_for

DEVICE = "dev1"
WINDOW = 100
EXTENSIONS = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
subjectAltName = DNS:{name}
extendedKeyUsage = serverAuth
"""


class Authority:
    """A certificate authority of the tests' own and the server certificates it issues."""

    def __init__(self, folder):
        assert shutil.which("openssl"), "openssl is missing; on Debian: apt-get install openssl"
        folder.mkdir()
        self.folder = folder
        self.file = folder / "ca.pem"
        self._openssl("ca", "authority", "-x509", "-days", "30", "-subj", f"/CN=Test {folder.name}", "-out", self.file)

    def issue(self, name):
        """Certificate and key of a server with that name."""
        certificate = self.folder / f"{name}.pem"
        signed_by = ["-CA", self.file, "-CAkey", self.folder / "ca.key"]
        request = self._openssl(name, None, "-subj", f"/CN={name}")
        options = ["-days", "30", "-set_serial", "2", "-extfile", self._extensions(name), "-extensions", "server"]
        run("openssl", "x509", "-req", *signed_by, *options, "-out", certificate, input=request)
        return certificate, self.folder / f"{name}.key"

    def _openssl(self, name, section, *options):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.folder / f"{name}.key"]
        section = ["-extensions", section] if section else []
        return run("openssl", "req", "-new", "-config", self._extensions(name), *key, *section, *options)

    def _extensions(self, name):
        path = self.folder / f"{name}.cnf"
        path.write_text(EXTENSIONS.format(name=name))
        return path


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout


class Mosquitto:
    """Takes any user name and password, keeps nothing, and drops nothing for a slow subscriber."""

    def __init__(self, folder, name, port, certificate, key):
        path = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert path, "mosquitto is missing: run scripts/test conformance, which installs it"
        self.port = port
        configuration = folder / f"{name}.conf"
        configuration.write_text(
            f"""
            # Stays who it is when it is started by root: the key is in a folder of that user.
            user root
            listener {port} 127.0.0.1
            certfile {certificate}
            keyfile {key}
            allow_anonymous true
            persistence false
            max_inflight_messages 0
            max_queued_messages 0
            log_dest stderr
            log_type all
            """.replace("            ", "")
        )
        self.process = Process([path, "-c", configuration], folder / f"{name}.log")
        try:
            self.process.wait_until(lambda: listens(port), "mosquitto to listen")
        except BaseException:
            self.process.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def ledger(self):
        """What the broker received from the device and acknowledged, number by number, in its own words."""
        received, acknowledged, under_way = [], [], {}
        lines = re.finditer(
            rf"Received PUBLISH from {DEVICE} \(d(\d), q1, r0, m(\d+), '[^']*mid=n%3A(\d+)&|Sending PUBACK to {DEVICE} \(m(\d+), rc0\)",
            self.process.log(),
        )
        for line in lines:
            duplicate, packet, number, acknowledged_packet = line.groups()
            if number is not None:
                assert duplicate == "0", f"sent again by the MQTT library and not by the caller: {line.group()}"
                received.append(int(number))
                under_way[packet] = int(number)
            else:
                acknowledged.append(under_way.pop(acknowledged_packet))
        return received, acknowledged


class Subscriber:
    """Keeps every message of every device in the order of arrival; connected and subscribed when it is made."""

    def __init__(self, name, port, authority):
        self.messages = []
        self.subscribed = threading.Event()
        self.stopping = threading.Event()
        self.client = mqtt.Client(name, protocol=mqtt.MQTTv311)
        self.client.tls_set(ca_certs=str(authority.file), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_message = lambda client, data, message: self.messages.append((message.topic, message.payload))
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect("localhost", port)
        self.client.subscribe("devices/+/messages/events/#", qos=1)
        self.thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self.thread.start()
        assert self.subscribed.wait(20), "mosquitto did not confirm the subscription"

    def _follow(self):
        # Not Paho's own thread: that one dies of a broken TLS connection without telling.
        with contextlib.suppress(OSError):
            while not self.stopping.is_set() and self.client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
                pass

    def wait_until_disconnected(self):
        """What had arrived before the end of the connection has been read then."""
        self.thread.join(20)
        assert not self.thread.is_alive(), "the subscriber did not notice the end of its connection"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(20)

    def numbers(self):
        found = []
        for topic, body in list(self.messages):
            number = json.loads(body)["n"]
            bag = f"%24.mid=n%3A{number}&%24.ct=application%2Fjson&%24.ce=utf-8"
            assert topic == f"devices/{DEVICE}/messages/events/{bag}"
            found.append(number)
        return found


class Sender:
    """The client program."""

    def __init__(self, folder, port, ca_file, count):
        path = BIN / "examples" / "send_numbered"
        assert path.exists(), f"{path} is not built: cargo build -p iothub-client --examples"
        connection_string = f"HostName=localhost;DeviceId={DEVICE};SharedAccessKey=c2VjcmV0a2V5"
        settings = {"connection-string": connection_string, "port": port, "ca": ca_file, "count": count, "window": WINDOW}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        self.process = Process([path, *arguments], folder / "send_numbered.log")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.running():
            # Also ends it where it is stopped.
            self.process.kill()

    def signal(self, number):
        os.kill(self.process.process.pid, number)

    def result(self):
        """Exit status and last line."""
        wait_for(lambda: not self.process.running(), "the client to end", timeout=120)
        return self.process.process.returncode, self.process.log().splitlines()[-1]

    def summary(self):
        status, line = self.result()
        assert status == 0, line
        return json.loads(line)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture
def port():
    return free_ports(1)[0]


def test_twenty_thousand_messages_arrive_once_and_in_order(tmp_path, authority, port):
    count = 20_000
    with Mosquitto(tmp_path, "mosquitto", port, *authority.issue("localhost")) as broker:
        with Subscriber("reader", port, authority) as subscriber, Sender(tmp_path, port, authority.file, count) as sender:
            summary = sender.summary()
            wait_for(lambda: len(subscriber.messages) >= count, "all messages", timeout=60)
            assert subscriber.numbers() == list(range(count))
        assert summary["acked"] == summary["sent"] == count
        assert [turn["generation"] for turn in summary["connections"]] == [1]
        assert broker.ledger() == (list(range(count)), list(range(count)))
        assert f"Received DISCONNECT from {DEVICE}" in broker.process.log()


def test_a_broker_that_forgets_everything_loses_nothing_the_client_could_know(tmp_path, authority, port):
    """kill -9 in the middle; the broker comes back empty.

    Nobody can promise that what a forgetful broker acknowledged before its end reached a subscriber. What the client promises: it goes on
    with the first message that was not acknowledged to it, it skips none, and it counts nothing as acknowledged that was not.
    """
    count, early = 50_000, 5_000
    certificate = authority.issue("localhost")
    with Mosquitto(tmp_path, "before", port, *certificate) as before, Subscriber("reader-1", port, authority) as first:
        with Sender(tmp_path, port, authority.file, count) as sender:
            with open(before.process.log_path, "rb") as log:
                received = 0

                def is_under_way():
                    nonlocal received
                    received += log.read().count(b"Received PUBLISH from " + DEVICE.encode())
                    return received >= early

                before.process.wait_until(is_under_way, f"{early} messages")
            before.process.kill()
            first.wait_until_disconnected()
            # The client waits until somebody listens again: messages that are acknowledged without a subscriber are gone for good.
            sender.signal(signal.SIGSTOP)
            with Mosquitto(tmp_path, "after", port, *certificate) as after, Subscriber("reader-2", port, authority) as second:
                sender.signal(signal.SIGCONT)
                summary = sender.summary()
                turns = summary["connections"]
                assert len(turns) == 2, f"the broker was killed in the middle: {turns}"
                resumed = turns[1]["first"]
                wait_for(lambda: len(second.messages) >= count - resumed, "the rest of the messages", timeout=60)

                assert second.numbers() == list(range(resumed, count))
                assert after.ledger() == (list(range(resumed, count)), list(range(resumed, count)))
        received, acknowledged = before.ledger()

    assert summary["acked"] == count
    assert summary["sent"] - count <= WINDOW, "no more than what was in flight is sent again"
    # In order and without a gap up to the end ...
    assert received == list(range(len(received))) and acknowledged == received[: len(acknowledged)]
    # ... and the client goes on where the acknowledgements it got end: none is skipped, none made up.
    assert turns[0]["acked"] == resumed <= len(acknowledged)
    assert len(received) <= turns[0]["sent"] <= resumed + WINDOW
    seen = first.numbers()
    assert seen == list(range(len(seen))) and seen


@pytest.mark.parametrize(
    "name, trusts, complaint",
    [
        ("localhost", "stranger", "the certificate of localhost is signed by nobody trusted here"),
        ("other.example", "authority", "the certificate of localhost is not for this name"),
    ],
    ids=["wrong authority", "wrong host name"],
)
def test_a_broker_that_cannot_prove_who_it_is_gets_no_token(tmp_path, authority, port, name, trusts, complaint):
    trusted = authority if trusts == "authority" else Authority(tmp_path / "stranger")
    with Mosquitto(tmp_path, "mosquitto", port, *authority.issue(name)) as broker:
        with Sender(tmp_path, port, trusted.file, 1) as sender:
            status, line = sender.result()
        assert status == 1 and complaint in line, line
        assert DEVICE not in broker.process.log(), "CONNECT carries the token"
