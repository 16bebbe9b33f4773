"""Latencies in buckets: bounded memory, at most 5 % too high."""

import math

STEP = math.log(1.05)


class Latencies:
    def __init__(self):
        self.buckets = {}
        self.count = 0

    def add(self, seconds):
        bucket = math.ceil(math.log(max(seconds, 1e-4)) / STEP)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other):
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count

    def quantile_ms(self, share):
        """What such a share does not exceed; None without any."""
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= share * self.count:
                return round(math.exp(bucket * STEP) * 1000, 1)
        return None
