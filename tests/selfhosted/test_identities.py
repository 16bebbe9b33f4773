"""Eight identities on one hub: each key goes by one of them, and one that the hub refuses keeps only its own keys waiting."""

from collections import defaultdict

import pytest
from fieldgate_testing.soak.site import DEVICE
from fieldgate_testing.soak.watched import Watched

STREAMS, RATE, MODULES = 200, 1000, 7
REFUSED, NAMED = "s3", "s5"
# What the refused identity has to catch up with: more than goes in front of what is new.
BACKLOG = 800
ROUTES = [{"name": "sevens", "when": {"subject": "device-*7/load"}, "identity": f"{DEVICE}/{NAMED}"}]


# Without a rule that names an identity events are found by their keys alone, which is another way through the queue.
@pytest.fixture(scope="module", params=[ROUTES, []], ids=["keys-and-a-route", "keys"])
def run(request, tmp_path_factory):
    run = Watched(tmp_path_factory.mktemp("identities"), streams=STREAMS, identities=MODULES, more={"routes": request.param})
    run.has_route = bool(request.param)
    try:
        run.site.load(RATE)
        run.arrive(3 * STREAMS)
        yield run
    finally:
        run.stop()


def streams_by_identity(run):
    """Numbers of streams by the module that sends them; None is the device itself."""
    found = defaultdict(dict)
    for name, stream in list(run.arrivals.streams.items()):
        found[stream.connection[1]][name.split("/")[1]] = stream
    return found


def test_every_identity_sends_and_a_route_chooses_its_own(run):
    found = streams_by_identity(run)
    assert set(found) == {None, *(f"s{number}" for number in range(1, MODULES + 1))}
    for module, streams in found.items():
        named = [name for name in streams if run.has_route and name.endswith("7")]
        assert len(named) == (STREAMS // 10 if run.has_route and module == NAMED else 0), f"{module} sends {named}"
        # The others are dealt out by their names: none of eight gets nearly nothing, or nearly everything.
        assert 5 <= len(streams) - len(named) <= 60, f"{module} has {len(streams)} keys"
    identities = run.site.status()["details"]["identities"]
    assert [one["name"] for one in identities] == [f"{DEVICE}/s{number}" for number in range(1, MODULES + 1)]
    assert all(one["connected_since"] and not one["error"] and one["throttle"] == "free" for one in identities), identities


def test_a_refused_identity_keeps_its_own_keys_waiting_and_no_others(run):
    client = f"{DEVICE}/{REFUSED}"
    copies = run.arrivals.duplicates
    run.hub.fault("refuse", client=client, seconds=1e6)
    run.hub.fault("drop", client=client)

    def state():
        return next(one for one in run.site.status()["details"]["identities"] if one["name"] == client)

    run.wait(lambda: not state()["connected_since"] and state()["error"], "the status to tell of the refused identity")
    found = streams_by_identity(run)
    waiting = found.pop(REFUSED)
    flowing = [stream for streams in found.values() for stream in streams.values()]

    def newest_arrives():
        newest = run.published() // STREAMS
        run.wait(lambda: all(stream.arrived.last() >= newest for stream in flowing), "the newest event of every other key")

    newest_arrives()
    stood = {name: stream.arrived.last() for name, stream in waiting.items()}
    run.wait(lambda: run.figure("queued_events") > BACKLOG, "a backlog of the refused identity")
    newest_arrives()
    assert {name: stream.arrived.last() for name, stream in waiting.items()} == stood, "keys of the refused identity went another way"
    others = [one for one in run.site.status()["details"]["identities"] if one["name"] != client]
    assert all(one["connected_since"] for one in others), others

    run.site.end_faults()
    run.wait(lambda: state()["connected_since"] and not state()["error"], "the status to tell that it is back")
    run.wait(lambda: all(stream.arrived.last() > stood[name] for name, stream in waiting.items()), "the keys that waited")
    run.arrive_all()
    arrivals = run.arrivals
    assert arrivals.order_violations == 0, arrivals.examples
    assert arrivals.moved == 0, arrivals.examples
    # What was on its connection may come again, and nothing else.
    assert arrivals.duplicates - copies <= 64
