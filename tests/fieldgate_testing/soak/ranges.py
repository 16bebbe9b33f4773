"""A set of numbers that costs memory only for its gaps."""

from bisect import bisect_right


class Ranges:
    __slots__ = ("firsts", "lasts")

    def __init__(self):
        self.firsts, self.lasts = [], []

    def add(self, number):
        """False if it was there."""
        firsts, lasts = self.firsts, self.lasts
        if lasts and number == lasts[-1] + 1:
            lasts[-1] = number
            return True
        at = bisect_right(firsts, number)
        if at and lasts[at - 1] >= number:
            return False
        below = at > 0 and lasts[at - 1] == number - 1
        above = at < len(firsts) and firsts[at] == number + 1
        if below and above:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif below:
            lasts[at - 1] = number
        elif above:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True

    def last(self):
        """0 without any."""
        return self.lasts[-1] if self.lasts else 0

    def above(self, number):
        """The smallest one that is greater, or None."""
        at = bisect_right(self.firsts, number)
        if at and self.lasts[at - 1] > number:
            return number + 1
        return self.firsts[at] if at < len(self.firsts) else None

    def gaps(self, end):
        """First and last of every gap from 1 to `end`."""
        begin = 1
        for first, last in zip(self.firsts, self.lasts):
            if first > end:
                break
            if first > begin:
                yield begin, first - 1
            begin = last + 1
        if begin <= end:
            yield begin, end
