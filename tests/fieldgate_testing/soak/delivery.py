"""The delivery soak: a steady load and one fault after the other, then the proof."""

import sys
import time

from .arrivals import Arrivals
from .collector import Collector
from .faults import Faults
from .memory import Memory, pss_kb
from .site import Site

TICK = 0.25
SAMPLE = 1.0
PROGRESS = 10.0
# Nothing new arrives for so long: the rest does not come any more. Longer than anything that is waited for: PUBACK 30 s, back-off 10 s.
SILENCE = 90.0


def say(words):
    print(words, file=sys.stderr, flush=True)


class Delivery:
    """One run. `run` returns the summary; `problems` says what is wrong with it."""

    def __init__(self, folder, seconds, rate, seed, fault_every, streams, without=()):
        self.seconds, self.rate, self.seed, self.fault_every = seconds, rate, seed, fault_every
        self.site = Site(folder, streams=streams, seed=seed)
        self.arrivals = Arrivals()
        self.memory = Memory()
        self.collector = Collector(self.site.hub, self.arrivals)
        self.faults = Faults(self.site, seed, without)
        self.problems = []

    def run(self):
        site = self.site
        site.keep_running()
        site.load(self.rate)
        self._until(lambda: self.arrivals.events > 0, "the first event at the hub", 60)
        begun = time.monotonic()
        self._make_faults(begun)
        loaded = time.monotonic() - begun
        say("the load ends")
        self.faults.stop()
        published = site.end_load()
        say(f"{published} events are with the broker, {published - self.arrivals.events} of them on the way")
        drained = self._drain(published)
        return self._summary(published, loaded, drained)

    def _make_faults(self, begun):
        end, due = begun + self.seconds, begun + self.fault_every
        sampled = told = begun
        while (now := time.monotonic()) < end:
            self.collector.check()
            self.faults.end_due(now)
            if now >= due:
                say(f"{now - begun:7.1f} s: {self.faults.next(now)}")
                due += self.fault_every
            if now >= sampled + SAMPLE:
                sampled = now
                self._sample(now)
            if now >= told + PROGRESS:
                told = now
                say(f"{now - begun:7.1f} s: {self._progress()}")
            time.sleep(TICK)

    def _sample(self, now):
        process = self.site.module.process.process
        size = pss_kb(process.pid)
        # None between its death and its restart.
        if size:
            self.memory.sample(now, process.pid, size)
        self.site.figures.look()
        self.site.source.look()

    def _progress(self):
        source, figures, arrivals = self.site.source, self.site.figures, self.arrivals
        return (
            f"{source['due_events']} due, {source['confirmed_events_total']} with the broker, {arrivals.events} at the hub, "
            f"{figures['queued_events']} queued, {arrivals.duplicates} copies, {arrivals.went_back} went back, "
            f"{arrivals.order_violations} order violations, {self.memory.greatest} kB at most"
        )

    def _drain(self, published):
        """Seconds until everything had arrived; None if it did not."""
        begun = last_change = time.monotonic()
        seen = self.arrivals.events
        while self.arrivals.events < published:
            self.collector.check()
            now = time.monotonic()
            self._sample(now)
            if self.arrivals.events != seen:
                seen, last_change = self.arrivals.events, now
            if now - last_change > SILENCE:
                return None
            time.sleep(SAMPLE)
        return time.monotonic() - begun

    def _until(self, condition, what, timeout):
        deadline = time.monotonic() + timeout
        while not condition():
            self.collector.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {what}\n{self.site.explain()}")
            time.sleep(TICK)

    def _summary(self, published, loaded, drained):
        self._sample(time.monotonic())
        self.collector.stop()
        arrivals, figures = self.arrivals, self.site.figures
        missing, examples = arrivals.missing(published, self.site.streams)
        stored_late = figures["late_total"]
        summary = {
            "events": published,
            "missing": missing,
            "duplicates": arrivals.duplicates,
            "faults": sum(self.faults.made.values()),
            # What nothing excuses, or what the module knows of: an excuse may hide the latter (arrivals.py).
            "order_violations": max(arrivals.order_violations, stored_late),
            "went_back": arrivals.went_back,
            "stored_late": stored_late,
            "moved": arrivals.moved,
            "wrong": arrivals.wrong,
            "rss_slope_kb_per_min": self.memory.slope_kb_per_min(),
            "pss_max_kb": self.memory.greatest,
            "seconds": round(loaded, 1),
            "drained_seconds": drained and round(drained, 1),
            "rate": self.rate,
            "seed": self.seed,
            "faults_by_kind": dict(sorted(self.faults.made.items())),
            "latency_ms_p50": arrivals.latencies.quantile_ms(0.5),
            "latency_ms_p99": arrivals.latencies.quantile_ms(0.99),
            "messages": arrivals.messages,
            "repeated_to_broker": self.site.source["repeated_events_total"],
            "copies_left_out": figures["duplicates_total"],
            "stored_after_gap": figures["after_gap_total"],
            "returned_to_broker": figures["returned_total"],
            "dropped": figures["dropped_total"],
            "dead_letters": figures["dead_letters_total"],
            "ended_unasked": dict(self.site.keeper.unasked),
        }
        wrong = [key for key in ("missing", "order_violations", "moved", "wrong", "dropped", "dead_letters") if summary[key]]
        self.problems = [f"{key}: {summary[key]}" for key in wrong]
        self.problems += [f"missing: {example}" for example in examples] + arrivals.examples
        return summary

    def stop(self):
        self.collector.stop()
        self.site.stop()
