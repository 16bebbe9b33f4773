"""Figures that are recorded and not judged: shown in the test's output and kept as files for whoever wants to compare."""

import json
import time

from fieldgate_testing.process import PLATFORM

FOLDER = PLATFORM.parent / "reports"


def write(name, figures):
    """Writes target/reports/NAME.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    return path


class Stages:
    """How long each step of a start took, counted from the beginning, in seconds."""

    def __init__(self):
        self.begun, self.begun_wall = time.monotonic(), time.time()
        self.seconds = {}

    def done(self, step):
        self.seconds[step] = round(time.monotonic() - self.begun, 1)

    def at(self, step, wall):
        """A step whose time is known from elsewhere, in seconds since the Unix epoch."""
        self.seconds[step] = round(wall - self.begun_wall, 1)
