"""Faults by chance, the same ones for the same seed."""

import random
from collections import Counter

# A container that was killed comes back at once or after Kubernetes' first pause.
BACK_AFTER = (0.0, 10.0)


def restart(chance):
    return {"back_after": chance.choice((0.0, chance.uniform(*BACK_AFTER)))}


def some_seconds(chance):
    return {"seconds": chance.uniform(2, 12)}


# What each kind needs to be made, drawn by chance. All of them end by themselves or by the next `end_faults`.
KINDS = {
    "hub-down": some_seconds,
    "hub-refuse": lambda chance: {"seconds": chance.uniform(2, 8)},
    "hub-drop": lambda chance: {},
    "hub-delay-puback": lambda chance: {"milliseconds": chance.randint(50, 1000), **some_seconds(chance)},
    "hub-swallow-puback": lambda chance: {"count": chance.randint(1, 50)},
    "hub-throttle": lambda chance: {"per_second": chance.randint(100, 1000), **some_seconds(chance)},
    "way-delay": lambda chance: {"delay": chance.uniform(0.02, 0.3), "jitter": chance.uniform(0, 0.1), **some_seconds(chance)},
    "way-loss": lambda chance: {"share": chance.uniform(0.01, 0.05), **some_seconds(chance)},
    "way-partition": some_seconds,
    "way-reset": lambda chance: {},
    "kill-module": restart,
    "kill-sidecar": restart,
    "kill-source-sidecar": restart,
    "kill-broker": restart,
}


class Faults:
    """Makes one when it is told to; every kind once before any of them a second time. `without`: kinds that are not made."""

    def __init__(self, site, seed, without=()):
        self.site = site
        self.kinds = [kind for kind in KINDS if kind not in without]
        self.chance = random.Random(seed)
        self.deck = []
        self.made = Counter()
        # The relay's faults end here: when, and how.
        self.ends = []

    def next(self, now):
        """Makes the next one and says it in words."""
        if not self.deck:
            self.deck = list(self.kinds)
            self.chance.shuffle(self.deck)
        kind = self.deck.pop()
        detail = KINDS[kind](self.chance)
        self.made[kind] += 1
        where, _, what = kind.partition("-")
        if where == "hub":
            self.site.hub.fault(what, **detail)
        elif where == "kill":
            self.site.keeper.kill(what, **detail)
        else:
            self._way(what, detail, now)
        return " ".join([kind, *(f"{key} {value:.3g}" for key, value in detail.items())])

    def _way(self, what, detail, now):
        relay = self.site.relay
        if what == "delay":
            relay.slow(detail["delay"], detail["jitter"])
            self.ends.append((now + detail["seconds"], lambda: relay.slow(0.0)))
        elif what == "loss":
            relay.lose(detail["share"])
            self.ends.append((now + detail["seconds"], lambda: relay.lose(0.0)))
        elif what == "partition":
            relay.part()
            self.ends.append((now + detail["seconds"], relay.join))
        else:
            relay.reset()

    def end_due(self, now):
        due = [end for at, end in self.ends if at <= now]
        self.ends = [(at, end) for at, end in self.ends if at > now]
        for end in due:
            end()

    def stop(self):
        self.ends = []
        self.site.end_faults()
