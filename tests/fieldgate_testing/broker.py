"""nats-server with the two streams of the product (docs/decisions/0007), and everything that is published to them."""

import json
import threading
import time
from collections import deque

import nats
from nats.js.api import StreamConfig

from .loop import Loop
from .process import Process, free_ports, listens, platform

STREAM = "fieldgate"
KEPT_STREAM = "fieldgate-kept"
TOPICS = {STREAM: ["telemetry", "alarms", "status"], KEPT_STREAM: ["commands", "config", "deadletter"]}


class Event(dict):
    """A CloudEvent as it was published. `arrived` is the monotonic time at which this test saw it."""

    def __init__(self, topic, raw):
        super().__init__(json.loads(raw))
        self.topic = topic
        self.raw = raw
        self.arrived = time.monotonic()

    @property
    def data(self):
        return self["data"]


class Broker:
    """Starts at once. Keeps every event of every topic, in the order of its stream."""

    def __init__(self, folder):
        self.folder = folder
        (self.port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{self.port}"
        self.events = []
        self.arrival = threading.Condition()
        command = platform("nats-server")[:1] + ["--addr", "127.0.0.1", "--port", self.port, "--jetstream", "--store_dir", folder / "jetstream"]
        self.process = Process(command, folder / "nats-server.log")
        self.loop = Loop("nats")
        try:
            self.process.wait_until(lambda: listens(self.port), "nats-server to listen")
            self.loop.run(self._follow())
        except BaseException:
            self.stop()
            raise

    async def _follow(self):
        self.client = await nats.connect(self.url)
        stream = self.client.jetstream()
        for name, topics in TOPICS.items():
            # Both keep everything: a test asks for events that were there before the subscribers of the system under test.
            await stream.add_stream(StreamConfig(name=name, subjects=topics, duplicate_window=120))
            await stream.subscribe(">", stream=name, ordered_consumer=True, cb=self._take)

    async def _take(self, message):
        event = Event(message.subject, message.data)
        with self.arrival:
            self.events.append(event)
            self.arrival.notify_all()

    def mark(self):
        """Now, as a place in the list of events; `wait_for` looks at what comes after it."""
        with self.arrival:
            return len(self.events)

    def since(self, mark, topic, where=lambda event: True):
        """The events that arrived after a mark."""
        with self.arrival:
            return [event for event in self.events[mark:] if event.topic == topic and where(event)]

    def wait_for(self, topic, where, what, mark=0, timeout=20, explain=lambda: "", near=lambda event: True):
        """The first event after the mark that fits. Of those that are `near` the last ones are shown if none does."""
        deadline = time.monotonic() + timeout
        seen = mark
        last = deque(maxlen=3)
        with self.arrival:
            while True:
                for event in self.events[seen:]:
                    if event.topic == topic and near(event):
                        last.append(event.raw.decode()[:1500])
                        if where(event):
                            return event
                seen = len(self.events)
                left = deadline - time.monotonic()
                if left <= 0 or not self.arrival.wait(left):
                    break
        shown = "\n".join(last) or "none"
        raise AssertionError(f"waited {timeout} s for {what}; the last events on {topic}:\n{shown}\n{explain()}")

    def stop(self):
        try:
            if hasattr(self, "client"):
                self.loop.run(self.client.close())
        finally:
            self.loop.stop()
            self.process.stop()
