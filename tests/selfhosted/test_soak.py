"""The short form of `scripts/soak`: faults of the hub, of the way to it and of processes, and every event arrives, in order."""

import json

from fieldgate_testing.soak.delivery import Delivery

SECONDS, RATE, FAULT_EVERY = 75, 500, 9
# Its first seven faults: module, sidecar and broker killed, a partition, loss, a dropped connection, PUBACKs that never come.
SEED = 18065


def test_everything_arrives_in_order_whatever_is_killed_and_cut(tmp_path):
    run = Delivery(tmp_path, SECONDS, RATE, SEED, FAULT_EVERY, streams=50)
    try:
        summary = run.run()
    finally:
        run.stop()
    print(json.dumps(summary))
    assert not run.problems, "\n".join([*run.problems, json.dumps(summary, indent=1), run.site.explain()])
    assert {"kill-module", "kill-sidecar", "kill-broker", "way-partition"} <= summary["faults_by_kind"].keys()
    assert summary["faults"] >= 7 and summary["events"] > SECONDS * RATE * 0.9
