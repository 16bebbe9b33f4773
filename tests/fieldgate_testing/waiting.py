"""Waiting for a condition, never for a time."""

import time


def wait_for(condition, what, timeout=30, interval=0.05):
    """Calls `condition` until it returns something true and returns that; an AssertionError inside it counts as not yet."""
    deadline = time.monotonic() + timeout
    last = None
    while time.monotonic() < deadline:
        try:
            result = condition()
            if result:
                return result
            last = result
        except (AssertionError, OSError) as error:
            last = error
        time.sleep(interval)
    raise AssertionError(f"waited {timeout} s for {what}; last seen: {last!r}")
