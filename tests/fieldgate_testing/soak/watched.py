"""A site and what arrives at its hub, read all the time: for tests that wait for conditions of both."""

import hashlib

from ..waiting import wait_for
from .arrivals import Arrivals
from .collector import Collector
from .site import Site

LOOK = 0.25


class Watched:
    """Starts at once; the rest of the arguments is the site's. `patience` in seconds is for each wait."""

    def __init__(self, folder, patience=120, **site):
        self.patience = patience
        self.site = Site(folder, **site)
        self.hub = self.site.hub
        self.arrivals = Arrivals()
        self.collector = Collector(self.hub, self.arrivals)

    def wait(self, condition, what):
        def check():
            self.collector.check()
            return condition()

        try:
            return wait_for(check, what, self.patience, interval=LOOK)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.site.figures.now}\n{self.site.explain()}") from None

    def figure(self, name):
        self.site.figures.look()
        return self.site.figures[name]

    def published(self):
        """How many events the broker has so far."""
        self.site.source.look()
        return self.site.source["confirmed_events_total"]

    def arrive(self, count):
        """Waits for so many more events at the hub."""
        goal = self.arrivals.events + count
        self.wait(lambda: self.arrivals.events >= goal, f"{count} more events at the hub")

    def arrive_all(self):
        """Ends the load, waits for the rest, and asserts that nothing is missing; returns how many there are."""
        published = self.site.end_load(self.patience)
        self.wait(lambda: self.arrivals.events >= published, f"all {published} events at the hub")
        self.wait(lambda: not self.figure("queued_events"), "the queue to be empty")
        missing, examples = self.arrivals.missing(published, self.site.streams)
        assert missing == 0, examples
        assert self.arrivals.wrong == 0, self.arrivals.examples
        return published

    def logged(self, words):
        """How many lines of the module's log have these words."""
        return sum(words in line for line in self.site.module.process.log().splitlines())

    def take_over(self, **more):
        """Writes a document with these keys and waits for what becomes of it: `in-force`, or `rejected` with its errors."""
        text = self.site.configure(**more)
        sha256 = hashlib.sha256(text.encode()).hexdigest()

        def judged():
            configuration = self.site.status()["configuration"]
            known = (configuration["hash"], configuration.get("rejected_hash"))
            return configuration if sha256 in known else None

        return self.wait(judged, "the document to be judged")

    def stop(self):
        self.collector.stop()
        self.site.stop()
