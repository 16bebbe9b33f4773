"""Silent devices, restarted servers, unplugged lines: values turn bad, come back, and nobody else suffers."""

from modbus_peers.plant import FAST


def good(data):
    return data["values"] == {"level": 4711}


def assert_gapless(events):
    sequences = [event.data["sequence"] for event in events]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), f"a gap in {sequences}"


def test_a_silent_device_turns_bad_and_its_neighbour_keeps_its_period(reader, plant):
    shared = plant.peers["shared"]
    reader.event("quiet", "fast", good, "the quiet device to be read before it falls silent")
    mark = reader.broker.mark()
    shared.silent.add(2)
    try:
        reader.event("quiet", "fast", lambda data: data["bad"] == {"level": "timeout"}, "a timeout", mark)
        reader.event("quiet", "fast", lambda data: data["bad"] == {"level": "parked"}, "the silent device to be parked", mark)
        # Two tries of the parked device fall into this time, each of which holds the link for its timeout of 200 ms.
        mark = reader.broker.mark()
        count = int(5 / FAST)
        last = reader.event("steady", "fast", mark=mark)["sequence"] + count
        reader.event("steady", "fast", lambda data: data["sequence"] >= last, f"{count} events of the neighbour", mark)
        events = reader.stream("steady", "fast", mark)
        assert all(good(event.data) for event in events), [event.data for event in events if not good(event.data)]
        assert_gapless(events)
        took = events[-1].arrived - events[0].arrived
        expected = FAST * (len(events) - 1)
        assert took < expected * 1.25, f"{len(events)} events took {took:.2f} s instead of {expected:.2f} s"
    finally:
        shared.silent.discard(2)
    reader.event("quiet", "fast", good, "the device to come back by itself")


def test_a_silent_slave_on_a_serial_line_does_not_disturb_the_other(reader, plant):
    peer = plant.peers["pymodbus-rtu"]
    reader.event("quiet-rtu", "slow", good, "the quiet slave to be read before it falls silent")
    mark = reader.broker.mark()
    peer.silent.add(2)
    try:
        reader.event("quiet-rtu", "slow", lambda data: data["bad"] == {"level": "timeout"}, "a timeout", mark)
        mark = reader.broker.mark()
        reader.event("pymodbus-rtu", "all", lambda data: "u16-big-endian-0" in data["values"], "the other slave's values", mark)
    finally:
        peer.silent.discard(2)
    data = reader.event("quiet-rtu", "slow", lambda data: "level" in data["values"], "the slave to come back")
    assert data["values"] == {"level": 4711}, "a late answer was taken for a new one"


def test_a_restarted_server_is_read_again(reader, plant):
    power = plant.peers["power"]
    reader.event("power", "fast", good, "values before the outage")
    mark = reader.broker.mark()
    power.stop()
    try:
        reader.event("power", "fast", lambda data: data["bad"] == {"level": "no-connection"}, "the reason no-connection", mark)
    finally:
        power.start()
    reader.event("power", "fast", good, "values after the restart", mark)
    assert_gapless(reader.stream("power", "fast", mark))


def test_an_unplugged_serial_line_is_read_again_when_it_is_back(reader, plant):
    reader.event("libmodbus-rtu", "writable", lambda data: data["values"], "values before the outage")
    mark = reader.broker.mark()
    peer = plant.peers["libmodbus-rtu"]
    plant.libmodbus_line.unplug()
    try:
        reader.event("libmodbus-rtu", "writable", lambda data: "no-connection" in data["bad"].values(), "the reason no-connection", mark)
    finally:
        plant.libmodbus_line.plug_in()
        # The slave at the other end has lost its line, too.
        peer.restart()
    reader.event("libmodbus-rtu", "writable", lambda data: data["values"], "values when the line is back", mark)
