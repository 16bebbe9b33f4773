"""A hub that takes less than it could be given, one that confirms late, and a line that is paid by volume."""

import pytest
from fieldgate_testing.soak.watched import Watched
from fieldgate_testing.waiting import wait_for

STREAMS, RATE = 20, 100
# Messages on the wire: few, so that those that a throttled hub holds back are soon through.
WINDOW = 4
# One confirmation takes longer than a second, however few messages wait for theirs.
TAKES = 0.9
MINUTE = 128 * 1024
# Of it, this percentage is for what is urgent.
RESERVE = 25
LATE_MS = 300
ROUTES = [{"name": "alarms", "when": {"topic": "alarms"}, "priority": 9}]
BEGIN, END = "IoT Hub confirms late", "IoT Hub confirms in time again"
HOLDS = "the byte budget of the minute holds messages back"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    more = {"routes": ROUTES, "sending": {"window": {"max": WINDOW}}}
    run = Watched(tmp_path_factory.mktemp("throttling"), streams=STREAMS, topics=("telemetry", "alarms", "status"), more=more)
    try:
        yield run
    finally:
        run.stop()


def sending(run, **more):
    """Another way to send, which takes effect at a start."""
    run.site.configure(sending=more)
    run.site.restart_module()


def test_throttling_is_told_at_its_begin_and_its_end(run):
    run.site.load(RATE)
    run.arrive(3 * RATE)
    assert run.figure("throttle_state") == 0
    run.hub.fault("throttle", per_second=TAKES, seconds=1e6)
    run.wait(lambda: run.figure("throttle_state") == 1, "the throttling to be noticed")
    told = run.site.status()["details"]["hub"]
    assert told["throttle"] == "throttled" and told["throttle_since"] and told["connected_since"], told
    run.site.end_faults()
    run.wait(lambda: run.figure("throttle_state") == 0, "the end of the throttling to be noticed")
    run.wait(lambda: run.site.status()["details"]["hub"]["throttle"] == "free", "the status to tell of it")
    run.arrive_all()
    assert (run.logged(BEGIN), run.logged(END)) == (1, 1)
    # The connection was good all the time.
    assert run.figure("reconnects_total") == run.arrivals.duplicates == run.arrivals.went_back == 0


def test_late_confirmations_show_and_are_no_throttling(run):
    sending(run)
    run.hub.fault("delay-puback", milliseconds=LATE_MS, seconds=1e6)
    run.site.load(RATE)
    run.arrive(2 * RATE)
    hub = run.site.status()["details"]["hub"]
    assert hub["puback_ms"]["p99"] >= hub["puback_ms"]["p50"] >= LATE_MS, hub
    assert hub["throttle"] == "free" and hub["window"] >= 1, hub
    assert run.figure("window_messages") >= 1
    count, total = (run.site.module.metric(f"fieldgate_iothub_module_puback_seconds_{what}") for what in ("count", "sum"))
    assert count > RATE and total / count >= LATE_MS / 1000
    run.site.end_faults()
    run.arrive_all()
    assert run.figure("reconnects_total") == run.arrivals.duplicates == 0


def test_a_budget_holds_back_what_is_not_urgent(run):
    before = run.arrivals.events
    sending(run, budget={"per_minute": f"{MINUTE // 1024}KiB", "urgent_from": 8, "urgent_reserve": RESERVE})
    run.site.load(2 * RATE)
    run.wait(lambda: run.figure("budget_holds") == 1, "the budget to be used up")
    run.site.publish("alarms", {"specversion": "1.0", "id": "urgent", "type": "com.example.alarm", "source": "/test", "data": {}})
    run.wait(lambda: run.arrivals.others, "the alarm")
    details = run.site.status()["details"]
    assert details["budget"]["holds"] == "minute", details["budget"]
    assert details["budget"]["minute"]["of"] == MINUTE
    # The alarm passed what waits, on the part that was kept for it.
    assert MINUTE * (100 - RESERVE) / 100 - 4096 < details["budget"]["minute"]["bytes"] <= MINUTE, details["budget"]
    assert details["queue"]["by_priority"]["5"] > 0 and "9" not in details["queue"]["by_priority"], details["queue"]
    assert 0 < run.figure("budget_used_bytes") <= MINUTE
    # Each message costs more than its body of some 500 bytes.
    assert 0 < run.arrivals.events - before < MINUTE / 500
    assert run.logged(HOLDS) == 1
    sending(run)
    run.arrive_all()
    assert run.figure("budget_holds") == 0
    assert wait_for(lambda: "budget" not in run.site.status()["details"], "a status without a budget")
