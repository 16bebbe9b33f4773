"""A serial line: two pseudo terminals that socat joins."""

from fieldgate_testing.process import Process


class SerialLine:
    """`ours` is the end of the reader, `theirs` the end of the slaves. Starts at once."""

    def __init__(self, folder, name):
        self.ours = folder / f"{name}-master"
        self.theirs = folder / f"{name}-slave"
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.ours, self.theirs)]
        self.process = Process(["socat", *ends], folder / f"{name}-socat.log")
        self._wait()

    def _wait(self):
        self.process.wait_until(lambda: self.ours.exists() and self.theirs.exists(), "socat to make the line")

    def unplug(self):
        self.process.stop()

    def plug_in(self):
        self.process.start()
        self._wait()

    def close(self):
        self.process.stop()
