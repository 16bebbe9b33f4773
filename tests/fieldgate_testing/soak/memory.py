"""The memory of a process that is killed now and then: its greatest share, and how it grows within its lives."""

# Caches and connections settle in this time of a life.
WARM_UP = 60.0
# Fewer samples say nothing about a slope.
FEWEST = 10


def pss_kb(pid):
    """The process' share of memory (proc(5)): its own pages, and its part of those it shares. None if it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return None


class Memory:
    def __init__(self, warm_up=WARM_UP):
        self.warm_up = warm_up
        self.greatest = self.count = 0
        self.life, self.begun = None, 0.0
        self.here = Sums()
        # Of all lives: the squares of the times, and times by sizes, each about the means of its own life.
        self.squares = self.products = 0.0

    def sample(self, at, life, size):
        """`life` tells one run of the process from the next one; `at` in seconds, `size` in kB."""
        if life != self.life:
            self._end_life()
            self.life, self.begun = life, at
        self.greatest = max(self.greatest, size)
        if at - self.begun >= self.warm_up:
            self.here.add(at - self.begun, size)
            self.count += 1

    def _end_life(self):
        squares, products = self.here.about_means()
        self.squares += squares
        self.products += products
        self.here = Sums()

    def slope_kb_per_min(self):
        """By least squares: one slope for all lives, with a beginning of its own for each. None as long as there is too little."""
        squares, products = self.here.about_means()
        squares, products = self.squares + squares, self.products + products
        return round(products / squares * 60, 2) if self.count >= FEWEST and squares else None


class Sums:
    def __init__(self):
        self.count = 0
        self.times = self.sizes = self.squares = self.products = 0.0

    def add(self, time, size):
        self.count += 1
        self.times += time
        self.sizes += size
        self.squares += time * time
        self.products += time * size

    def about_means(self):
        if not self.count:
            return 0.0, 0.0
        return self.squares - self.times**2 / self.count, self.products - self.times * self.sizes / self.count
