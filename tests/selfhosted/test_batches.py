"""Several events in a message: whatever the encoding, whatever is cut or killed or changed meanwhile, readers get every event."""

from collections import defaultdict

import pytest
from fieldgate_testing.soak.encodings import body_of
from fieldgate_testing.soak.watched import Watched

STREAMS, RATE = 60, 600
BATCH_OF_PLAIN, JSON = "application/cloudevents-batch+json", "application/json"
# By the last digit of the device's number: encoding, gzip, content type of a message with several events.
FORMS = {
    "0": ("plain", False, BATCH_OF_PLAIN),
    "1": ("plain", True, BATCH_OF_PLAIN),
    "2": ("compact", False, JSON),
    "3": ("compact", True, JSON),
    "4": ("opcua-pubsub-json", False, JSON),
    "5": ("opcua-pubsub-json", True, JSON),
}
MAX_BYTES = 16 * 1024
# This one always has events that wait for others.
SLOW, DELAY = "5", "4s"


def batch(digit, **more):
    encoding, gzip, _ = FORMS[digit]
    return {"encoding": encoding, "gzip": gzip, "max_bytes": "16KiB", "max_delay": DELAY if digit == SLOW else "2s", **more}


def route(digit, **more):
    return {"name": f"form-{digit}", "when": {"subject": f"device-*{digit}/load"}, "properties": {"form": int(digit)}, "batch": batch(digit), **more}


ROUTES = [route(digit) for digit in FORMS]


class Messages:
    """What is wrong with messages, judged while they come, and how many there are of each form."""

    def __init__(self):
        self.events, self.messages = defaultdict(int), defaultdict(int)
        self.problems = []

    def look(self, message, events):
        digits = {event["id"].split("/")[1][-1] for event in events}
        (digit,) = digits
        self.events[digit] += len(events)
        self.messages[digit] += 1
        encoding, gzip, content_type = FORMS.get(digit, ("plain", False, JSON))
        if digit not in FORMS or (encoding == "plain" and len(events) == 1):
            content_type = JSON
        body = body_of(message)
        seen = {
            "content-type": message["system"].get("content-type"),
            "content-encoding": message["system"].get("content-encoding"),
            "form": message["properties"].get("form"),
            "type": message["properties"].get("type"),
            "topic": message["properties"].get("topic"),
            "more": message["system"]["message-id"].partition("+")[2],
            "gzip": body[:2] == b"\x1f\x8b",
            "fits": len(body) <= MAX_BYTES,
        }
        due = {
            "content-type": content_type,
            "content-encoding": "gzip" if gzip else "utf-8",
            "form": digit if digit in FORMS else None,
            "type": "com.fieldgate.measurements.v1",
            "topic": "telemetry",
            "more": str(len(events) - 1) if len(events) > 1 else "",
            "gzip": gzip,
            "fits": True,
        }
        if seen != due:
            self.problems.append(f"message {message['index']} of {len(events)} events, {encoding}: {seen} instead of {due}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # Tokens that live this short make a planned new connection every eight seconds, with events in open messages.
    hub, more = {"sas_lifetime": "10s"}, {"routes": ROUTES}
    run = Watched(tmp_path_factory.mktemp("batches"), streams=STREAMS, topics=("telemetry", "alarms", "status"), hub=hub, more=more)
    try:
        yield run
    finally:
        run.stop()


def test_every_event_is_in_a_message_of_its_route_and_readers_take_it_out(run):
    messages = Messages()
    run.arrivals.reader = messages.look
    run.site.load(RATE)
    run.arrive(8 * RATE)
    run.wait(lambda: run.figure("reconnects_total"), "a connection with a new token")
    run.arrive_all()
    run.arrivals.reader = None
    assert not messages.problems, "\n".join(messages.problems[:10])
    for digit, (encoding, gzip, _) in FORMS.items():
        events, count = messages.events[digit], messages.messages[digit]
        assert events >= 5 * count > 0, f"{events} events of {encoding}, gzip {gzip}, went in {count} messages"
    for digit in set("0123456789") - set(FORMS):
        assert messages.events[digit] == messages.messages[digit] > 0
    assert run.arrivals.duplicates == run.arrivals.order_violations == 0, run.arrivals.examples


def test_documents_change_under_load_and_nothing_is_lost_or_sent_twice(run):
    run.site.load(2000)
    run.arrive(2000)
    dropped = run.figure("dropped_total")

    def take_over(state, *routes):
        judged = run.take_over(routes=list(routes))
        assert judged["state"] == state, judged
        # Each document is in force for a while.
        run.arrive(2000)

    take_over("in-force", *(route(digit, priority=int(digit)) for digit in FORMS))
    # No batches, and what nobody has asked for yet stays here.
    drop = {"name": "nothing-else", "when": {"topic": "alarms"}, "drop": True}
    plain = {"name": "urgent", "when": {"subject": "device-*1/load"}, "priority": 8}
    take_over("in-force", drop, plain)
    for number in range(3):
        run.site.publish("alarms", alarm(f"dropped-{number}"))
    run.wait(lambda: run.figure("dropped_total") == dropped + 3, "the alarms to be dropped")
    # A mistake changes nothing: the rule above still drops.
    take_over("rejected", {"name": "no-such-priority", "priority": 12})
    run.site.publish("alarms", alarm("dropped-3"))
    run.wait(lambda: run.figure("dropped_total") == dropped + 4, "the alarm to be dropped under the document before")
    # The same names with other contents.
    take_over("in-force", *(route(digit, batch=batch(digit, encoding="compact", gzip=True, max_delay="50ms")) for digit in FORMS))
    take_over("in-force", {"name": "all", "when": {"topic": "telemetry"}, "batch": {"max_delay": "200ms"}})
    take_over("in-force")
    take_over("in-force", *ROUTES)
    run.site.publish("alarms", alarm("sent"))
    run.arrive_all()
    run.wait(lambda: run.arrivals.others, "the alarm that no rule drops")
    assert [event["id"] for event in run.arrivals.others] == ["sent"]
    assert run.arrivals.duplicates == 0
    assert run.figure("dropped_total") == dropped + 4
    assert run.site.status()["details"]["restart_needed"] == []


def test_a_connection_that_is_lost_takes_no_event_with_it(run):
    # Where the priority of a stream changed, its events may have passed each other.
    before = run.arrivals.order_violations
    run.site.load(RATE)
    for _ in range(3):
        run.arrive(RATE)
        run.hub.fault("drop")
    run.arrive(RATE)
    run.arrive_all()
    assert run.arrivals.order_violations == before, run.arrivals.examples


def test_events_in_an_open_message_outlive_the_module(run):
    run.site.load(RATE)
    run.arrive(2 * RATE)
    run.wait(lambda: run.site.status()["details"]["queue"]["by_route"].get(f"form-{SLOW}"), "events that wait for others")
    module = run.site.processes["module"]
    module.kill()
    module.start()
    module.wait_until(run.site.module.is_ready, "the module to be ready again")
    run.arrive(RATE)
    run.arrive_all()


def alarm(name):
    return {"specversion": "1.0", "id": name, "type": "com.example.alarm", "source": "/test", "data": {}}
