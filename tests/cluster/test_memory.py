"""The memory table is complete. Its figures at load are for bench/cluster_memory.py, which is run by hand."""

from fieldgate_testing.cluster import pods, reports
from fieldgate_testing.cluster.memory import OURS, memory_table

TARGET_MIB = 300


def test_the_memory_table_has_every_process(system, capsys):
    node = system.node
    table = memory_table(node)
    assert all(row["pss_kib"] > 0 for row in table.rows), table.markdown()

    counted = {pid for row in table.rows for pid in row["pids"]}
    for namespace in ("fieldgate", pods.DAPR):
        for pod in node.pods(namespace):
            for container, pids in node.pids(pods.name(pod), namespace).items():
                assert set(pids) <= counted, f"{pods.name(pod)}/{container} is not in the table"
    assert set(node.processes.values()) <= counted
    assert set(OURS) <= set(table.groups), table.groups
    assert len([row for row in table.rows if row["group"] == "sidecar"]) == len([row for row in table.rows if row["group"] == "module"]) == 2

    path = reports.write("memory-idle", {"target_mib": TARGET_MIB, **table.json()})
    with capsys.disabled():
        print(f"\nmemory, few values (kept in {path}):\n{table.markdown()}")
