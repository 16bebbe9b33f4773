"""Whether everything that the broker accepted is at the hub."""

import itertools
from collections import Counter, defaultdict
from datetime import datetime

from fieldgate_testing.waiting import wait_for

MEASUREMENTS = "com.fieldgate.measurements.v1"


class Audit:
    """Compares the stream of the broker with what arrived at the hub; both are read on from where they were read last."""

    def __init__(self, hub, broker, device):
        self.hub = hub
        self.broker = broker
        self.device = device
        self.last_index = 0
        self.events_seen = 0
        # Event id → how often it arrived.
        self.delivered = Counter()
        self.accepted = set()
        # (source, subject, epoch) → sequences, and the first and last time in it.
        self.streams = defaultdict(set)
        self.times = {}

    def read(self):
        for message in self.hub.messages(after=self.last_index, device=self.device):
            self.last_index = message["index"]
            event = message["body"]
            if event.get("type") == MEASUREMENTS:
                self.delivered[event["id"]] += 1
                self._number(event)
        end = self.broker.mark()
        for event in self.broker.since(self.events_seen, "telemetry"):
            if event.get("type") == MEASUREMENTS:
                self.accepted.add(event["id"])
                self._number(event)
        self.events_seen = end

    def _number(self, event):
        data = event["data"]
        stream = (event["source"], event["subject"], data["epoch"])
        self.streams[stream].add(data["sequence"])
        time = datetime.fromisoformat(data["timestamp"])
        first, last = self.times.get(stream, (time, time))
        self.times[stream] = (min(first, time), max(last, time))

    def missing(self):
        return self.accepted - set(self.delivered)

    def gaps(self):
        """Streams with a sequence that neither the broker nor the hub has: (stream, how many, the first of them)."""
        found = []
        for stream, sequences in self.streams.items():
            absent = sorted(set(range(1, max(sequences) + 1)) - sequences)
            if absent:
                found.append((stream, len(absent), absent[0]))
        return found

    def overlaps(self):
        """Pairs of epochs of one device and group that were alive at the same time: two readers worked at once."""
        found = []
        ordered = sorted((source, subject, times, epoch) for (source, subject, epoch), times in self.times.items())
        for (*one, (_, last), earlier), (*other, (first, _), later) in itertools.pairwise(ordered):
            if one == other and first <= last:
                found.append((*one, earlier, later))
        return found

    def check(self, timeout=120):
        """Waits until all that is accepted by now has arrived, and for those on their way to close the gaps; returns the figures."""
        self.read()
        accepted = set(self.accepted)
        assert accepted, "the broker has accepted nothing"

        def complete():
            self.read()
            return not accepted - set(self.delivered) and not self.gaps()

        try:
            wait_for(complete, "every accepted event at the hub", timeout, interval=0.5)
        except AssertionError:
            missing = sorted(accepted - set(self.delivered))
            raise AssertionError(f"missing at the hub: {len(missing)}, {missing[:10]}; gaps: {self.gaps()[:10]}") from None
        return self.figures()

    def figures(self):
        return {
            "accepted": len(self.accepted),
            "delivered": len(self.delivered),
            "missing": len(self.missing()),
            "gaps": len(self.gaps()),
            "overlaps": len(self.overlaps()),
            "duplicates": sum(self.delivered.values()) - len(self.delivered),
            "epochs": len(self.streams),
        }
