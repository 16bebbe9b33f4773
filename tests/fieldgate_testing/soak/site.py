"""The whole system of a run: generator, sidecars, broker with the product's streams, iothub-module, a relay, and the emulated hub."""

import json
import os
import secrets
import shutil
import time
from types import SimpleNamespace

import nkeys

from ..broker import KEPT_STREAM, STREAM, TOPICS
from ..emulator import start_emulator
from ..module import Module
from ..process import Process, free_ports, listens, platform, program
from ..relay import Relay
from ..sidecar import Sidecar, call, jetstream
from ..waiting import wait_for
from .figures import Figures
from .keeper import Keeper

DEVICE = "soak"
SUBSCRIBED = ("telemetry", "status")
GENERATOR, HUB_MODULE = "load-generator", "iothub-module"


class Site:
    """Starts at once, with a generator that makes nothing yet. `hub`, `queue` and `more` are merged into the document of iothub-module.

    `topics` are what it subscribes to. With `identities`, so many modules of the device (`s1`, `s2`, …) send beside it.
    """

    def __init__(
        self, folder, streams=200, tags=4, queue=None, more=None, stream_bytes="256MiB", seed=0, topics=SUBSCRIBED, identities=0, hub=None
    ):
        self.folder, self.streams, self.tags = folder, streams, tags
        self.topics, self.identities = topics, identities
        self.parts = []
        self.keeper = None
        try:
            self._start(hub or {}, queue or {}, more or {}, stream_bytes, seed)
        except BaseException:
            self.stop()
            raise

    def _start(self, hub, queue, more, stream_bytes, seed):
        emulator = self.folder / "emulator"
        emulator.mkdir()
        self.emulator, self.hub = start_emulator(emulator)
        self.parts.append(self.emulator.stop)
        self.relay = Relay(("127.0.0.1", self.hub.mqtt_port), seed)
        self.parts.append(self.relay.stop)
        self.broker = self._broker()
        setup = self._broker_setup(stream_bytes)

        address = SimpleNamespace(url=f"nats://127.0.0.1:{self.broker_port}")
        subscriptions = [jetstream(f"pubsub-{topic}", address, durableName=f"{HUB_MODULE}-{topic}", ackWait="5s") for topic in self.topics]
        hub_sidecar = self._sidecar(HUB_MODULE, address, subscriptions)
        self.document = self._document(hub, queue, more)
        self.module = self._module(HUB_MODULE, self.document, hub_sidecar)
        self.generator_sidecar = generator_sidecar = self._sidecar(GENERATOR, address, [])
        self.generator = self._module(GENERATOR, self._load(0), generator_sidecar)
        for module in (self.module, self.generator):
            module.process.wait_until(module.is_ready, "the module to be ready")
        self.processes = {
            "broker": self.broker,
            "broker-setup": setup,
            "sidecar": hub_sidecar.process,
            "module": self.module.process,
            "source-sidecar": generator_sidecar.process,
            "source": self.generator.process,
        }
        self.figures = Figures(self.module, "fieldgate_iothub_module_")
        self.source = Figures(self.generator, "fieldgate_load_generator_")

    def _broker(self):
        self.broker_port, self.setup_port = free_ports(2)
        path = self.folder / "nats-server.conf"
        # As in the product: the disk is flushed once a second (docs/decisions/0003).
        self.seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(bytearray(self.seed)).public_key.decode()
        path.write_text(
            f'listen: "127.0.0.1:{self.broker_port}"\nserver_name: soak\nmax_payload: 4194304\n'
            f'jetstream {{ store_dir: "{self.folder / "jetstream"}", max_file_store: 64GB, sync_interval: "1s" }}\n'
            # broker-setup has a key, as always; what a sidecar may do is not what a soak is about.
            f"authorization {{ users: [{{ nkey: {public} }}, {{ user: sidecar, password: {secrets.token_hex(16)} }}] }}\nno_auth_user: sidecar\n"
        )
        broker = Process(platform("nats-server")[:1] + ["--config", path], self.folder / "nats-server.log")
        self.parts.append(broker.stop)
        broker.wait_until(lambda: listens(self.broker_port), "nats-server to listen")
        return broker

    def _broker_setup(self, stream_bytes):
        keep = {STREAM: "interest", KEPT_STREAM: {"limits": {"max_age": "7d"}}}
        streams = [{"name": name, "topics": topics, "keep": keep[name], "max_bytes": stream_bytes} for name, topics in TOPICS.items()]
        consumers = [{"stream": STREAM, "topic": topic, "durable": f"{HUB_MODULE}-{topic}"} for topic in self.topics]
        plan = self.folder / "plan.yaml"
        plan.write_text(json.dumps({"streams": streams, "consumers": consumers}))
        command = [program("broker-setup"), plan, "--broker", f"nats://127.0.0.1:{self.broker_port}", "--ops-address", f"127.0.0.1:{self.setup_port}"]
        setup = Process(command, self.folder / "broker-setup.log", env={"NKEY_SETUP_SEED": self.seed.decode()})
        self.parts.append(setup.stop)
        setup.wait_until(lambda: call("GET", f"http://127.0.0.1:{self.setup_port}/readyz")[0] == 200, "the streams to be there")
        return setup

    def _sidecar(self, app, address, components):
        sidecar = Sidecar(self.folder / f"{app}-sidecar", app, address, components, names=self.folder)
        self.parts.append(sidecar.stop)
        return sidecar

    def _module(self, name, document, sidecar):
        module = Module(self.folder, name, json.dumps(document), sidecar)
        self.parts.append(module.stop)
        return module

    def _in_one(self, module=None):
        """An identity as a connection string."""
        file = self.folder / f"connection-string-{module or DEVICE}"
        file.write_text(self.hub.create(DEVICE, module)["connectionString"])
        return {"connection_string_file": str(file)}

    def _in_parts(self, module=None):
        """An identity that has a name in the document, for routes."""
        file = self.folder / f"key-{module or DEVICE}"
        file.write_text(self.hub.create(DEVICE, module)["primaryKey"])
        return {"device": DEVICE, "key_file": str(file)} | ({"module": module} if module else {})

    def _document(self, hub, queue, more):
        if self.identities:
            own = {"name": self.hub.host_name, **self._in_parts()}
            # The first in the other way.
            others = [(self._in_parts if number > 1 else self._in_one)(f"s{number}") for number in range(1, self.identities + 1)]
            more = {**more, "sending": {**more.get("sending", {}), "identities": others}}
        else:
            own = self._in_one()
        return {
            "hub": {
                **own,
                "host": "localhost",
                "port": self.relay.port,
                "ca_file": self.hub.ca_file,
                **hub,
            },
            "queue": {"path": str(self.folder / "queue.db"), "max_bytes": "1GiB", "when_full": "reject", **queue},
            "subscriptions": [{"pubsub": f"pubsub-{topic}", "topic": topic} for topic in self.topics],
            **more,
        }

    def _load(self, rate, limit=None):
        return {"rate": rate, "limit": limit, "streams": self.streams, "tags": self.tags}

    def configure(self, **more):
        """Writes the module's first document with other keys; returns its text."""
        text = json.dumps({**self.document, **more})
        self.module.configure(text)
        return text

    def status(self):
        """The module's status as of now, asked for through the hub."""
        answer = self.hub.call(DEVICE, "status", {})
        assert answer["status"] == 200, answer
        return answer["payload"]

    def publish(self, topic, event):
        """An event that is not the generator's, with its sidecar."""
        url = f"http://127.0.0.1:{self.generator_sidecar.http_port}/v1.0/publish/pubsub/{topic}?metadata.rawPayload=true"
        status, answer = call("POST", url, event)
        assert status in (200, 204), answer

    def restart_module(self):
        """With whatever document is there; waits until it is ready."""
        process = self.processes["module"]
        process.stop()
        process.start()
        process.wait_until(self.module.is_ready, "the module to be ready again")

    def keep_running(self):
        """From now on what ends is started again."""
        self.keeper = Keeper(self.processes)

    def load(self, rate, limit=None):
        """Events per second from now on, up to so many in all."""
        self.generator.configure(json.dumps(self._load(rate, limit)))

    def end_load(self, silence=90):
        """No more events; returns how many the broker has confirmed, which is all that were made. Waits for as long as it takes some."""
        self.load(0)
        confirmed, moved = None, time.monotonic()
        while not (self.source.look() and not self.source["rate"] and self.source["due_events"] == self.source["confirmed_events_total"]):
            now = time.monotonic()
            if self.source["confirmed_events_total"] != confirmed:
                confirmed, moved = self.source["confirmed_events_total"], now
            if now - moved > silence:
                raise AssertionError(f"the broker has {confirmed} of {self.source['due_events']} events and takes no more\n{self.explain()}")
            time.sleep(0.5)
        return self.source["confirmed_events_total"]

    def end_faults(self):
        """Nothing is in the way any more, and every process runs."""
        self.hub.end_faults()
        self.relay.clear()
        if self.keeper:
            wait_for(self.keeper.all_run, "every process to run again", 60)

    def queue_bytes(self):
        """The queue's file and its log on disk."""
        files = [self.folder / "queue.db", self.folder / "queue.db-wal"]
        return sum(path.stat().st_size for path in files if path.exists())

    def explain(self):
        return "\n".join(f"--- {name}:\n{process.log_tail()[-2000:]}" for name, process in self.processes.items())

    def stop(self):
        if self.keeper:
            self.keeper.stop()
        for stop in reversed(self.parts):
            stop()


def need_disk(folder, size):
    """Fails while there is still nothing to clean up."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SystemExit(f"{folder} has {free >> 20} MiB free and the run needs {size >> 20} MiB: set TMPDIR to a folder on a larger disk, or run it shorter")
