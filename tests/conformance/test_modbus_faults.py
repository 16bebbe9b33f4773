"""A device that answers late, wrongly or not at all: values turn bad, but a wrong or old value is never published as good."""

import pytest

from modbus_peers.simulated import BLOCKS, DEVICES, age

# fault, its details, the reasons that may be given
FAULTS = [
    # On TCP the connection is given up and made again after each timeout: that is no reason to say there is none.
    ("silent", {}, {"timeout"}),
    # Later than the timeout of 300 ms: on a serial line each answer may arrive while the next request waits for its own.
    ("slow", {"milliseconds": 450}, {"timeout"}),
    ("exception", {"code": 6}, {"device-busy"}),
    ("disconnect", {}, {"no-connection", "timeout"}),
    ("corrupt", {}, {"bad-response", "timeout"}),
    ("wrong-transaction", {}, {"bad-response", "timeout"}),
    ("wrong-count", {}, {"bad-response"}),
]
# A value is at most as old as the time one request may take, and the events of both requests of a cycle.
OLDEST = 0.4


def streams(reader, device, mark):
    return [event.data for block in BLOCKS for event in reader.stream(device, block, mark)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "details", "reasons"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_wrong_or_late_answer_is_never_a_good_value(reader, plant, device, kind, details, reasons):
    for block in BLOCKS:
        reader.event(device, block, lambda data: data["values"], f"{device} to be read before the fault")
    mark = reader.broker.mark()
    plant.simulated.fault(device, kind, **details)
    try:
        for block in BLOCKS:
            reader.event(device, block, lambda data: set(data["bad"].values()) & reasons, f"one of {reasons}", mark)
        # Several more cycles in which old answers could be taken for new ones.
        (first, *_) = [event.data["sequence"] for event in reader.stream(device, "left", mark)]
        reader.event(device, "left", lambda data: data["sequence"] > first + 3, "more cycles", mark)
    finally:
        plant.simulated.heal(device)
    healed = reader.broker.mark()
    for block in BLOCKS:
        reader.event(device, block, lambda data: len(data["values"]) == 4, f"{device} to be read again", healed)
    events = streams(reader, device, mark)
    wrong = [data for data in events if data["values"] and age(device, data, OLDEST) is None]
    assert not wrong, f"values that {device} did not have within {OLDEST} s before the event: {wrong}"
    during = {reason for data in events for reason in data["bad"].values()}
    assert during <= reasons, f"reasons {during}"
