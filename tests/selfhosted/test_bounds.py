"""A queue that is full by bytes: what it drops is counted to the event, and what it refuses stays with the broker."""

import pytest
from fieldgate_testing.soak.arrivals import Arrivals
from fieldgate_testing.soak.collector import Collector
from fieldgate_testing.soak.site import Site
from fieldgate_testing.waiting import wait_for

STREAMS, RATE = 50, 1000
# Events of some 1.3 KB: the smallest queue is full after three thousand.
TAGS = 40
QUEUE = "4MiB"
# Until so many found no room.
ENOUGH = 2000
PATIENCE = 180


class Full:
    """A site whose hub is away and whose queue has found no room for `ENOUGH` events; the load has ended."""

    def __init__(self, folder, policy, figure):
        self.site = Site(folder, STREAMS, TAGS, queue={"max_bytes": QUEUE, "when_full": policy})
        self.arrivals = Arrivals()
        self.collector = Collector(self.site.hub, self.arrivals)
        self.site.hub.fault("down", seconds=1e6)
        self.site.load(RATE)
        self.wait(lambda: self.figure(figure) >= ENOUGH, f"{ENOUGH} events without room")
        self.published = self.site.end_load()

    def figure(self, name):
        self.site.figures.look()
        return self.site.figures[name]

    def wait(self, condition, what):
        def check():
            self.collector.check()
            return condition()

        try:
            return wait_for(check, what, PATIENCE, interval=0.25)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.site.figures.now}\n{self.site.explain()}") from None

    def open(self):
        self.site.hub.end_faults()

    def is_empty(self):
        return self.site.figures.look() and not self.site.figures["queued_events"]

    def stop(self):
        self.collector.stop()
        self.site.stop()


@pytest.mark.parametrize(("policy", "from_the_start"), [("drop-oldest", True), ("drop-newest", False)])
def test_what_is_dropped_is_counted_to_the_event(tmp_path, policy, from_the_start):
    full = Full(tmp_path, policy, "dropped_total")
    try:
        # The module has stored or dropped everything: none of it is a copy, for nothing was lost on the way.
        full.wait(lambda: full.figure("received_events_total") >= full.published + full.figure("duplicates_total"), "the module to have it all")
        full.wait(lambda: full.figure("queued_events") + full.figure("dropped_total") == full.published, "the queue to account for all of it")
        dropped = full.figure("dropped_total")
        full.open()
        full.wait(lambda: full.arrivals.events == full.published - dropped and full.is_empty(), "the rest to arrive")
        missing, _ = full.arrivals.missing(full.published, STREAMS)
        assert missing == dropped == full.figure("dropped_total")
        assert full.arrivals.order_violations == 0, full.arrivals.examples
        # The gap is where the policy says: at the beginning of every stream, or at its end.
        for name, stream in full.arrivals.streams.items():
            has_first = stream.arrived.firsts[:1] == [1]
            assert has_first is not from_the_start, f"{policy}: {name} has {stream.arrived.firsts[:3]} to {stream.arrived.lasts[-3:]}"
    finally:
        full.stop()


def test_what_the_queue_refuses_stays_with_the_broker_and_arrives_when_there_is_room(tmp_path):
    full = Full(tmp_path, "reject", "returned_total")
    try:
        queued = full.figure("queued_events")
        assert queued < full.published, "the queue was not full"
        # It stays so for as long as the hub is away: what is refused comes again and again, and is refused.
        returned = full.figure("returned_total")
        full.wait(lambda: full.figure("returned_total") > returned + ENOUGH, "refused events to come again")
        assert full.figure("dropped_total") == 0 and full.figure("dead_letters_total") == 0
        full.open()
        full.wait(lambda: full.arrivals.events == full.published and full.is_empty(), "everything to arrive")
        missing, examples = full.arrivals.missing(full.published, STREAMS)
        assert missing == 0, examples
        # What was queued when the hub came back is backlog, and what the broker had kept may pass it: each of the two is in order.
        assert full.arrivals.order_violations == 0, full.arrivals.examples
        assert full.figure("dropped_total") == 0
    finally:
        full.stop()
