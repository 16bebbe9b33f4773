"""The broker in the cluster, seen with the rights of its own set-up user."""

import asyncio
import base64
import threading

import nats
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from fieldgate_testing.broker import KEPT_STREAM, STREAM, Broker, Event
from fieldgate_testing.loop import Loop

AUDITOR = "test-audit"
PORT = 4222
# Between two looks at a stream, in seconds.
PAUSE = 0.2


def secret(node, name, key, namespace="fieldgate"):
    """A value of a Secret, as text."""
    return base64.b64decode(node.get("secret", name, namespace)["data"][key]).decode()


def url(node):
    """By the address of its Service, which stays the same whatever happens to the pod."""
    return f"nats://{node.get('service', 'broker')['spec']['clusterIP']}:{PORT}"


async def ignore(_error):
    """Connections break in these tests; what that costs is what they look at."""


class ClusterBroker(Broker):
    """Keeps every event of every topic, in the order of its stream.

    The set-up's user may look into streams, and neither publish nor confirm. So a durable consumer that never takes anything makes the stream
    that keeps by interest keep every event, and this test reads them by their numbers: none escapes it, whatever restarts meanwhile.
    """

    def __init__(self, node):
        self.events = []
        self.arrival = threading.Condition()
        self.url = url(node)
        self.seed = secret(node, "broker-keys", "setup")
        self.loop = Loop("nats")
        self.tasks = []
        try:
            self.loop.run(self._connect())
        except BaseException:
            self.stop()
            raise

    async def _connect(self):
        # A broker whose node has lost its power says nothing: only an unanswered ping tells.
        patience = {"connect_timeout": 5, "reconnect_time_wait": 0.5, "max_reconnect_attempts": -1, "ping_interval": 5}
        self.client = await nats.connect(self.url, nkeys_seed_str=self.seed, name=AUDITOR, inbox_prefix="_INBOX.setup", error_cb=ignore, **patience)
        self.streams = self.client.jetstream(timeout=5)
        keep = ConsumerConfig(durable_name=AUDITOR, deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT)
        await self.streams.add_consumer(STREAM, keep)
        self.tasks = [asyncio.create_task(self._follow(stream)) for stream in (STREAM, KEPT_STREAM)]

    async def _follow(self, stream):
        last = 0
        while True:
            try:
                state = (await self.streams.stream_info(stream)).state
                last = max(last, state.first_seq - 1)
                while last < state.last_seq:
                    await self._read(stream, last + 1)
                    last += 1
            except (nats.errors.Error, asyncio.TimeoutError):
                # No broker for a while.
                pass
            await asyncio.sleep(PAUSE)

    async def _read(self, stream, number):
        try:
            message = await self.streams.get_msg(stream, number)
        except nats.js.errors.NotFoundError:
            # Confirmed by all before this test was there, or older than the stream keeps.
            return
        event = Event(message.subject, message.data)
        with self.arrival:
            self.events.append(event)
            self.arrival.notify_all()

    async def _leave(self):
        """Without the consumer, or the stream would wait for it for ever."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        try:
            await self.streams.delete_consumer(STREAM, AUDITOR)
        finally:
            await self.client.close()

    def stop(self):
        try:
            if self.tasks:
                self.loop.run(self._leave(), timeout=60)
        finally:
            self.loop.stop()


class Refused(Exception):
    """What the broker said when it refused a user or one of its requests."""


class User:
    """One connection with the given seed, or without any, that notices what the broker refuses. A context manager."""

    def __init__(self, address, seed=None):
        self.address = address
        self.seed = seed

    def __enter__(self):
        self.loop = Loop("nats user")
        self.refusals = []
        try:
            self.client = self.loop.run(self._connect())
        except Exception as error:
            self.loop.stop()
            raise Refused(str(error)) from error
        return self

    async def _connect(self):
        async def note(error):
            self.refusals.append(str(error))

        credentials = {"nkeys_seed_str": self.seed} if self.seed else {}
        return await nats.connect(self.address, allow_reconnect=False, connect_timeout=10, error_cb=note, **credentials)

    def publish(self, subject, body=b"{}"):
        """Returns when the broker has seen it; raises what it has against it."""
        self.loop.run(self._publish(subject, body))
        self._raise()

    async def _publish(self, subject, body):
        await self.client.publish(subject, body)
        await self._settle()

    def subscribe(self, subject):
        self.loop.run(self._subscribe(subject))
        self._raise()

    async def _subscribe(self, subject):
        await self.client.subscribe(subject)
        await self._settle()

    async def _settle(self):
        """A refusal comes before the answer to a ping behind it; nats-py's first ping may overtake what waits to be sent."""
        for _ in range(2):
            await self.client.flush(10)

    def _raise(self):
        if self.refusals:
            raise Refused(self.refusals.pop())

    def __exit__(self, *_):
        try:
            self.loop.run(self.client.close())
        finally:
            self.loop.stop()
