"""From a machine that has its programs and images to the first message at the hub, with the sidecars' injector coming last."""

from fieldgate_testing.cluster import pods, reports
from fieldgate_testing.cluster.installation import MODULES

TARGET_SECONDS = 60


def test_the_first_message_arrives_and_the_time_is_on_record(system, stages, capsys):
    system.fresh()
    restarts = {
        f"{pods.name(pod)}/{status['name']}": status["restartCount"]
        for namespace in ("fieldgate", pods.DAPR)
        for pod in system.node.pods(namespace)
        for status in pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
    }
    figures = {"target_seconds": TARGET_SECONDS, "seconds_since_start": stages.seconds, "restarts": restarts}
    path = reports.write("cold-start", figures)
    with capsys.disabled():
        print(f"\ncold start, target {TARGET_SECONDS} s (kept in {path}):")
        for step, seconds in stages.seconds.items():
            print(f"  {seconds:6.1f} s  {step}")
        print(f"  container restarts: {sum(restarts.values())}")
    assert stages.seconds[system.FIRST_MESSAGE] > 0


def test_nothing_but_a_delay_came_of_it_that_the_injector_was_late(system, watch):
    watch.check()
    for module in MODULES:
        pod = system.module_pod(module)
        statuses = {status["name"]: status for status in pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]}
        assert statuses["daprd"]["ready"] and statuses[module]["ready"]
        assert statuses[module]["restartCount"] == 0, f"{module} was started {statuses[module]['restartCount']} times more\n{system.explain()}"
