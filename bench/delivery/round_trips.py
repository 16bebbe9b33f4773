"""How much of window / round-trip time is reached on lines that take their time."""

import socket
import threading
import time

from fieldgate_testing.relay import Relay
from run import SIZE

from .rates import PORT, WINDOWS
from .self_fed import SelfFed, rate

MILLISECONDS = (1, 20, 100)
# The window has so many seconds to grow; more than that is not waited for.
GROWTH = 10.0
# Of the backlog, for growing and for measuring; what is left over is thrown away.
MOST = 200_000
PROBES = 20


def round_trips(hub, folder, seconds):
    """Measures each for so many seconds, or for as long as the backlog lasts."""
    module = SelfFed(folder / "round-trips", hub, "round-trips", SIZE)
    relay = Relay(("127.0.0.1", PORT))
    try:
        return [with_line(module, relay, window, milliseconds, seconds) for window in WINDOWS for milliseconds in MILLISECONDS]
    finally:
        module.stop()
        relay.stop()


def with_line(module, relay, window, milliseconds, seconds):
    relay.slow(milliseconds / 2000)
    round_trip = measured(milliseconds)
    count = min(MOST, int(window / round_trip * (seconds + GROWTH)))
    module.fill(count)
    module.start(window, relay.port)
    grown = time.monotonic() + GROWTH

    def is_grown(arrived):
        at_bound = module.figures.look() and module.figures["window_messages"] >= window
        return at_bound or time.monotonic() > grown or arrived > count / 3

    begun = module.follow(count, enough=is_grown)[-1][1]
    # What is on the line when the bound is reached was sent with a smaller window.
    time.sleep(2 * round_trip)
    end = time.monotonic() + seconds
    rest = count - begun
    samples = module.follow(rest, enough=lambda arrived: time.monotonic() >= end or arrived > 0.8 * rest)
    figures = {"window": window, "milliseconds": milliseconds, "round_trip_ms": round(round_trip * 1000, 2), **rate(samples)}
    figures["share"] = round(figures["rate"] * round_trip / window, 3)
    figures.update(module.line())
    module.stop()
    return figures


def measured(milliseconds):
    """The round-trip time of such a line, in seconds: the relay's clock is a coarse one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        relay = Relay(server.getsockname())
        relay.slow(milliseconds / 2000)
        echo = threading.Thread(target=answer, args=(server,))
        echo.start()
        try:
            with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                times = []
                for _ in range(PROBES):
                    begun = time.perf_counter()
                    line.sendall(b".")
                    line.recv(1)
                    times.append(time.perf_counter() - begun)
        finally:
            echo.join()
            relay.stop()
    # Of a line that is alone: what the machine does beside would flatter the share.
    return min(times)


def answer(server):
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(64):
            connection.sendall(data)
