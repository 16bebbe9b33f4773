"""The short form of `scripts/soak`: faults of the hub, of the way to it and of processes, and every event arrives, in order."""

import json

from fieldgate_testing.soak.delivery import Delivery

SECONDS, RATE, FAULT_EVERY, SEED = 75, 500, 11, 20261128


def test_nothing_is_missing_after_faults_of_every_kind(tmp_path):
    run = Delivery(tmp_path, SECONDS, RATE, SEED, FAULT_EVERY, streams=50)
    try:
        summary = run.run()
    finally:
        run.stop()
    print(json.dumps(summary))
    assert not run.problems, "\n".join([*run.problems, json.dumps(summary, indent=1), run.site.explain()])
    assert summary["faults"] >= 5 and summary["events"] > SECONDS * RATE * 0.9
