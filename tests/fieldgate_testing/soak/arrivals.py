"""What arrived at the hub, judged while it comes: what is missing, what came twice, what came in another order.

A stream is what its events' ids begin with: module, device, group and epoch. Its sequences begin with 1.

Order. Only the first arrival of an event counts: a copy may come whenever a connection, the module or an acknowledgement was lost. On each
connection of an identity the sender may divide what it has into the backlog (stored before the connection) and what is live (stored since),
and live may pass the backlog. So on one connection the first arrivals of a stream are right if one sequence divides them in such a way that
those below it ascend and those from it on ascend, and if every event that was passed is older than the connection. Anything else is an order
violation. A new connection is judged anew.

That excuses more than happens: whoever stores an old event behind newer ones looks like a backlog. Therefore a run also asks the module how
many it stored late, and tells `went_back`: first arrivals behind any newer one of their stream, on whatever connection.
"""

from datetime import datetime

from . import encodings
from .latencies import Latencies
from .ranges import Ranges

EXAMPLES = 10


class Unreadable(Exception):
    """A message whose events this checker cannot take out."""


class Stream:
    __slots__ = ("arrived", "connection", "here", "low", "high")

    def __init__(self):
        self.arrived = Ranges()
        self.connect(None)

    def connect(self, connection):
        self.connection = connection
        # First arrivals on this connection, and the bounds within which the dividing sequence must be: low < it ≤ high.
        self.here = Ranges()
        self.low, self.high = 0, None


class Arrivals:
    def __init__(self):
        self.streams = {}
        # The last epoch of each device and group: of an encoding that does not carry it, it is this one.
        self.epochs = {}
        self.messages = self.events = self.duplicates = 0
        self.order_violations = self.went_back = self.moved = self.wrong = 0
        self.latencies = Latencies()
        self.examples = []
        # A function of (event's time, time of arrival, connection's time) in seconds, for every first arrival.
        self.observer = None
        # A function of (message, its events), for every message.
        self.reader = None
        # Events that are not the generator's.
        self.others = []

    def take(self, message):
        """A message as the emulator tells of it."""
        self.messages += 1
        events = events_of(message)
        if self.reader:
            self.reader(message, events)
        for event in events:
            if event["type"] == encodings.MEASUREMENTS:
                self._event(event, message)
            else:
                self.others.append(event)

    def _event(self, event, message):
        name, _, number = event["id"].rpartition("/")
        sequence = int(number)
        name = self._whole(name)
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream()
        if not stream.arrived.add(sequence):
            self.duplicates += 1
            return
        self.events += 1
        if event["data"]["values"].get("r0", sequence) != sequence:
            self.wrong += 1
            self._example(f"{event['id']} says {event['data']['values']['r0']}")
        made = datetime.fromisoformat(event["time"]).timestamp()
        received = message["received_us"] / 1e6
        self.latencies.add(received - made)
        if self.observer:
            self.observer(made, received, message["connected_us"] / 1e6)
        self._order(stream, event["id"], sequence, made, message)

    def _whole(self, name):
        name, _, epoch = name.rpartition("/")
        known = self.epochs.setdefault(name, epoch)
        if encodings.NO_EPOCH in (known, epoch):
            epoch = known
        else:
            self.epochs[name] = epoch
        return f"{name}/{epoch}"

    def _order(self, stream, name, sequence, made, message):
        connection = (message["device"], message["module"], message["connected_us"])
        if connection != stream.connection:
            if stream.connection and connection[:2] != stream.connection[:2]:
                self.moved += 1
                self._example(f"{name} came from {connection[:2]}, those before it from {stream.connection[:2]}")
            stream.connect(connection)
        if sequence < stream.arrived.last():
            self.went_back += 1
        passed_by = stream.here.above(sequence)
        if passed_by is None:
            stream.here.add(sequence)
            return
        low = max(stream.low, sequence)
        high = passed_by if stream.high is None else min(stream.high, passed_by)
        if low < high and made < message["connected_us"] / 1e6:
            stream.low, stream.high = low, high
            stream.here.add(sequence)
        else:
            self.order_violations += 1
            self._example(f"{name} came behind {passed_by} on the connection of {connection[2]}, message {message['index']}")

    def _example(self, words):
        if len(self.examples) < EXAMPLES:
            self.examples.append(words)

    def missing(self, total, streams):
        """How many of `total` events, dealt out to `streams` streams in turn, have not come; the first few of them in words."""
        known = {name.split("/")[1]: (name, stream) for name, stream in self.streams.items()}
        missing, examples, none = 0, [], Stream()
        for number in range(min(streams, total)):
            last = (total - number - 1) // streams + 1
            name, stream = known.get(f"device-{number}", (f"device-{number}", none))
            for first, end in stream.arrived.gaps(last):
                missing += end - first + 1
                if len(examples) < EXAMPLES:
                    examples.append(f"{name}/{first}" + (f" to {end}" if end > first else ""))
        return missing, examples


def events_of(message):
    """The events of a message, whatever its encoding."""
    body = message.get("body")
    if isinstance(body, dict) and "specversion" in body:
        return [body]
    try:
        return encodings.events_of(message)
    except encodings.Unreadable as error:
        raise Unreadable(f"message {message['index']}, {message['system']}: {error}") from error
