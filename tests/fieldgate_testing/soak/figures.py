"""The figures of a module that is killed now and then: counters go on where they were."""

import re
from collections import defaultdict

LINE = re.compile(r"^([a-z_]+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Figures:
    """Looks when it is asked to. What a module counted after the last look before its death is not seen."""

    def __init__(self, module, prefix):
        self.module, self.prefix = module, prefix
        self.now, self.before = {}, defaultdict(float)

    def look(self):
        """False while the module does not answer."""
        try:
            status, text = self.module.ops("/metrics", timeout=2)
        except OSError:
            return False
        if status != 200 or not isinstance(text, str):
            return False
        now = defaultdict(float)
        for name, value in LINE.findall(text):
            now[name] += float(value)
        for name, value in self.now.items():
            # A counter that is smaller than it was belongs to another life of the process.
            if name.endswith("_total") and now[name] < value:
                self.before[name] += value
        self.now = now
        return True

    def __getitem__(self, name):
        """Without the prefix. 0 for what has not been counted yet."""
        name = self.prefix + name
        return int(self.now.get(name, 0) + self.before[name])
