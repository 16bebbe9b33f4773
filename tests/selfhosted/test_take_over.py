"""A rolling update of iothub-module: two instances with one lock, one queue and one identity, and nothing is missing at the hub."""

import json
import threading
import time

import pytest
from fieldgate_testing.broker import Broker
from fieldgate_testing.module import Module
from fieldgate_testing.sidecar import Sidecar, jetstream
from fieldgate_testing.waiting import wait_for

STANDBY = "fieldgate_iothub_module_standby"
PERIOD = 0.02
SOME = 50


class Telemetry:
    """Publishes one stream of measurements from a thread of its own, each event confirmed by the broker before the next one."""

    def __init__(self, broker):
        self.broker = broker
        self.published = 0
        self.failure = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            stream = self.broker.client.jetstream()
            while not self.ended.wait(PERIOD):
                event = measurement(self.published + 1)
                sent = stream.publish("telemetry", json.dumps(event).encode(), headers={"Nats-Msg-Id": event["id"]})
                self.broker.loop.run(sent)
                self.published += 1
        except Exception as error:  # told where the test looks, not in a thread that nobody sees
            self.failure = error

    def stop(self):
        """Returns how many events the broker has."""
        self.ended.set()
        self.thread.join(60)
        assert self.failure is None, f"publishing failed: {self.failure!r}"
        return self.published


def measurement(sequence):
    data = {"device": "press", "group": "fast", "epoch": "e1", "sequence": sequence, "values": {"level": sequence}, "bad": {}}
    return {
        "specversion": "1.0",
        "id": f"modbus-reader/press/fast/e1/{sequence}",
        "source": "/fieldgate/test/modbus-reader",
        "type": "com.fieldgate.measurements.v1",
        "subject": "press/fast",
        "partitionkey": "press",
        "sequence": f"{sequence:020}",
        "data": data,
    }


class Site:
    """A broker, an identity at the hub, and what two instances share: queue, lock, app id and consumer."""

    def __init__(self, folder, hub, device):
        self.folder, self.hub, self.device = folder, hub, device
        self.parts = []
        (folder / "connection-string").write_text(hub.create(device)["connectionString"])
        self.broker = Broker(folder)
        self.parts.append(self.broker.stop)

    def instance(self, name):
        folder = self.folder / name
        folder.mkdir()
        subscription = jetstream("pubsub-telemetry", self.broker, durableName="iothub-module-telemetry")
        sidecar = Sidecar(folder / "sidecar", "iothub-module", self.broker, [subscription], names=self.folder)
        self.parts.append(sidecar.stop)
        module = Module(folder, "iothub-module", json.dumps(self.document()), sidecar)
        self.parts.append(module.stop)
        return module

    def document(self):
        hub = {
            "connection_string_file": str(self.folder / "connection-string"),
            "host": "localhost",
            "port": self.hub.mqtt_port,
            "ca_file": self.hub.ca_file,
        }
        return {
            "hub": hub,
            "queue": {"path": str(self.folder / "queue.db"), "max_bytes": "64MiB"},
            "subscriptions": [{"pubsub": "pubsub-telemetry", "topic": "telemetry"}],
        }

    def arrived(self):
        """The sequences at the hub, in the order of their arrival."""
        return [message["body"]["data"]["sequence"] for message in self.hub.messages(device=self.device)]

    def wait_for_more(self, module, what):
        there = len(self.arrived())
        module.process.wait_until(lambda: len(self.arrived()) > there + SOME, what)

    def stop(self):
        for stop in reversed(self.parts):
            stop()


def is_standby(module):
    status, answer = module.ops("/readyz")
    return status == 200 and answer.get("standby") is True


def works(module):
    status, answer = module.ops("/readyz")
    return status == 200 and "standby" not in answer and module.metric(STANDBY) == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_rolling_update_leaves_no_gap_at_the_hub(tmp_path, hub, monkeypatch, end):
    # Every module that this test starts has the same lock.
    monkeypatch.setenv("FIELDGATE_LOCK", str(tmp_path / "iothub-module.lock"))
    site = Site(tmp_path, hub, f"take-over-{end}")
    try:
        old = site.instance("old")
        old.process.wait_until(lambda: works(old), "the old instance to work")
        telemetry = Telemetry(site.broker)
        site.wait_for_more(old, "telemetry through the old instance")

        new = site.instance("new")
        new.process.wait_until(lambda: is_standby(new), "the new instance to be ready as standby")
        assert works(old)
        site.wait_for_more(old, "telemetry through the old instance beside the new one")
        assert is_standby(new) and "queue open" not in new.process.log()

        began = time.monotonic()
        if end == "stop":
            assert old.stop() == 0, old.log_tail()
        else:
            old.process.kill()
        gone = time.monotonic()
        new.process.wait_until(lambda: works(new), "the new instance to take over")
        took_over = time.monotonic()
        old.sidecar.stop()
        site.wait_for_more(new, "telemetry through the new instance")

        published = telemetry.stop()
        missing = set(range(1, published + 1))

        def nothing_missing():
            missing.difference_update(site.arrived())
            return not missing

        wait_for(nothing_missing, f"all of {published} events at the hub; the new instance says:\n{new.log_tail()}", timeout=60)
        print(f"{end}: the end took {gone - began:.2f} s, the take-over {took_over - gone:.2f} s; {published} events")
        assert took_over - gone < 1.0
        assert new.stop() == 0, new.log_tail()
    finally:
        site.stop()
