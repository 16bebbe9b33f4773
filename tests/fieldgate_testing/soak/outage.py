"""The outage: the hub is away while a backlog grows, and comes back while new data goes on."""

import time
from collections import defaultdict

from .arrivals import Arrivals
from .collector import Collector
from .delivery import say
from .latencies import Latencies
from .memory import pss_kb
from .site import Site

TICK = 0.25
PROGRESS = 10.0
# The broker has refused nothing and the queue has grown by nothing for so long: the backlog cannot be made.
STUCK = 120.0
FOR_EVER = 1e6
# The queue gives space back after its rows are gone.
SETTLE = 30.0
# Fills the queue as fast as the way takes it; the broker and the generator hold back what is too much.
FILL_RATE = 50_000


class Backfill:
    """What is new since the hub is back, and what is not, by the time of each event."""

    def __init__(self):
        self.connected = self.first_live = self.last_old = None
        self.old = self.live = 0
        # Of live events, by the second in which they were made.
        self.seconds = defaultdict(Latencies)

    def observe(self, made, received, connected):
        if self.connected is None:
            self.connected = connected
        if made < self.connected:
            self.old += 1
            self.last_old = received
            return
        self.live += 1
        if self.first_live is None:
            self.first_live = received
        self.seconds[int(made)].add(received - made)

    def live_during(self):
        """The latencies of what was made while the backlog was still on its way."""
        during = Latencies()
        for second, latencies in self.seconds.items():
            if second <= self.last_old:
                during.merge(latencies)
        return during


class Outage:
    """One run. `run` returns the summary, whatever it is: the targets are the reader's to compare with."""

    def __init__(self, folder, events, live_rate, seed, streams):
        self.events, self.live_rate, self.seed = events, live_rate, seed
        self.site = Site(folder, streams=streams, seed=seed, queue={"max_bytes": "16GiB"}, stream_bytes="1GiB")
        self.arrivals = Arrivals()
        self.collector = Collector(self.site.hub, self.arrivals)
        self.problems = []
        self.pss_max = 0

    def run(self):
        site = self.site
        before = self._before()
        site.hub.fault("down", seconds=FOR_EVER)
        begun = time.monotonic()
        site.load(FILL_RATE, limit=before["events"] + self.events)
        self._fill()
        filled = time.monotonic() - begun
        # Measured with the whole machine for the system: what arrives is read when it is all there.
        self.collector.reads.clear()
        backfill = Backfill()
        self.arrivals.observer = backfill.observe
        peak = site.queue_bytes()
        say(f"{self.events} events are queued after {filled:.0f} s in {peak >> 20} MiB; the hub comes back")
        site.load(self.live_rate)
        wait_for_rate(site, self.live_rate)
        returned = time.time()
        site.hub.end_faults()
        peak = max(peak, self._empty())
        self.collector.reads.set()
        published = site.end_load()
        return self._summary(published, before, peak, filled, returned, backfill)

    def _before(self):
        """The size that an empty queue has at this load."""
        site = self.site
        site.load(self.live_rate, limit=self.live_rate * 5)
        self._until(lambda: self.arrivals.events >= self.live_rate * 5, "the first events at the hub", 120)
        self._until(lambda: site.figures.look() and not site.figures["queued_events"], "the queue to be empty", 60)
        return {"events": self.arrivals.events, "bytes": site.queue_bytes()}

    def _fill(self):
        grown, last, told = time.monotonic(), 0, time.monotonic()
        while True:
            self._sample()
            queued, now = self.site.figures["queued_events"], time.monotonic()
            if queued >= self.events:
                return
            if queued > last:
                last, grown = queued, now
            if now - grown > STUCK:
                raise AssertionError(f"the queue stays at {queued} of {self.events} events\n{self.site.explain()}")
            if now - told > PROGRESS:
                told = now
                say(f"{queued} of {self.events} queued, {self.site.queue_bytes() >> 20} MiB")
            time.sleep(TICK)

    def _empty(self):
        """Until the queue holds no more than what is on its way; returns the greatest size of its file meanwhile."""
        peak, told, last, moved = 0, time.monotonic(), None, time.monotonic()
        while True:
            self._sample()
            queued, now = self.site.figures["queued_events"], time.monotonic()
            peak = max(peak, self.site.queue_bytes())
            if queued <= self.live_rate:
                return peak
            if queued != last:
                last, moved = queued, now
            if now - moved > STUCK:
                raise AssertionError(f"{queued} events stay in the queue\n{self.site.explain()}")
            if now - told > PROGRESS:
                told = now
                say(f"{queued} queued, {self.site.hub.count()} messages at the hub, {self.site.queue_bytes() >> 20} MiB")
            time.sleep(TICK)

    def _sample(self):
        self.site.figures.look()
        self.site.source.look()
        self.pss_max = max(self.pss_max, pss_kb(self.site.module.process.process.pid) or 0)

    def _until(self, condition, what, timeout):
        deadline = time.monotonic() + timeout
        while not condition():
            self.collector.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {what}\n{self.site.explain()}")
            time.sleep(TICK)

    def _summary(self, published, before, peak, filled, returned, backfill):
        self._until(lambda: self.arrivals.events >= published, "everything at the hub", 600)
        at_once = self.site.queue_bytes()
        after = at_once
        settled = time.monotonic() + SETTLE
        while after > before["bytes"] and time.monotonic() < settled:
            time.sleep(TICK)
            after = min(after, self.site.queue_bytes())
        self.collector.stop()
        missing, examples = self.arrivals.missing(published, self.site.streams)
        drained, live = backfill.last_old - backfill.connected, backfill.live_during()
        summary = {
            "events": published,
            "backlog": self.events,
            "missing": missing,
            "duplicates": self.arrivals.duplicates,
            "order_violations": self.arrivals.order_violations,
            "went_back": self.arrivals.went_back,
            "connected_seconds": round(backfill.connected - returned, 2),
            "live_seconds": backfill.first_live and round(backfill.first_live - backfill.connected, 2),
            "live_rate": self.live_rate,
            "live_events": live.count,
            "live_ms_p50": live.quantile_ms(0.5),
            "live_ms_p99": live.quantile_ms(0.99),
            "drain_seconds": round(drained, 1),
            "drain_rate": round(backfill.old / drained) if drained > 0 else None,
            "fill_seconds": round(filled, 1),
            "fill_rate": round(self.events / filled),
            "queue_bytes_before": before["bytes"],
            "queue_bytes_peak": peak,
            "queue_bytes_after": after,
            "pss_max_kb": self.pss_max,
            "seed": self.seed,
        }
        self.problems = [f"{key}: {summary[key]}" for key in ("missing", "order_violations") if summary[key]]
        self.problems += [f"missing: {example}" for example in examples] + self.arrivals.examples
        return summary

    def stop(self):
        self.collector.stop()
        self.site.stop()


def wait_for_rate(site, rate):
    while not (site.source.look() and site.source["rate"] == rate):
        time.sleep(TICK)
