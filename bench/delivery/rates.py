"""Messages per second and what one costs of the processor: iothub-module, durable, beside clients that are not, on one emulator."""

from collections import defaultdict

from run import SIZE, client_commands, last_json

from .self_fed import SelfFed, rate, steady

# Messages in flight at most. 64 is the default of `hub.window`, 1000 its bound.
WINDOWS = (64, 1000)
# By turns, and of each the median, because the machine is shared.
ROUNDS = 3
CLIENTS, MODULE = 100_000, 80_000
# Events that are made and not at the hub yet, while storing and sending go on together.
AHEAD = 4000
DRAIN, AT_ONCE = "iothub-module, a filled queue", "iothub-module, storing and sending at once"
PORT = 8883


def rates(hub, folder, scale):
    module = SelfFed(folder / "rates", hub, "rates", SIZE)
    try:
        return [row for window in WINDOWS for row in with_window(hub, module, window, scale)]
    finally:
        module.stop()


def with_window(hub, module, window, scale):
    runs, count = defaultdict(list), int(MODULE * scale)
    clients = client_commands(hub, window, int(CLIENTS * scale))
    for _ in range(ROUNDS):
        for name, command in clients.items():
            run = last_json(command, 300)
            runs[name].append({"rate": round(run["rate"]), "cpu_us_per_message": round(run["cpu_seconds"] / run["messages"] * 1e6, 1)})
        runs[DRAIN].append(drain(module, window, count))
        runs[AT_ONCE].append(at_once(module, window, count))
    for name, of_name in runs.items():
        median = sorted(of_name, key=lambda run: run["rate"])[len(of_name) // 2]
        yield {"sender": name, "durable": name in (DRAIN, AT_ONCE), "window": window, **median, "rates": [run["rate"] for run in of_name]}


def drain(module, window, count):
    """The queue is full of events when the module starts."""
    module.fill(count)
    # Some are there before anybody looks.
    before = module.hub.count()
    module.start(window, PORT)
    figures = rate(steady(module.follow(count, before), count))
    figures.update(module.line())
    module.stop()
    return figures


def at_once(module, window, count):
    """Events come in as fast as they reach the hub: each is stored, sent and removed meanwhile."""
    module.start(window, PORT)
    module.wait_connected()
    samples = module.follow(count, meanwhile=lambda arrived: module.make(min(count, arrived + AHEAD)))
    figures = rate(steady(samples, count))
    figures.update(module.line())
    module.stop()
    return figures
