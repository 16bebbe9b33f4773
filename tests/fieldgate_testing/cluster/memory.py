"""Memory of every process on the node: PSS, which counts a page that several processes share in equal parts."""

import pathlib
import re

from .pod_watch import SIDECAR

DAPR = "dapr-system"
# Groups that are Fieldgate's: what the appliance adds to Kubernetes.
OURS = ("module", "sidecar", "broker", "broker set-up", "Dapr control plane")
CONTROL_PLANE, NODE, SHIM = "Kubernetes control plane", "node component", "container shim"
CONTROLLERS = re.compile(r"apiserver|controller-manager|scheduler|kine|k3s")


def pss_kib(pid):
    """Proportional set size in KiB; None when the process is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def group_of(namespace, pod, container):
    labels = pod["metadata"].get("labels", {})
    if namespace == DAPR:
        return "Dapr control plane"
    if container == SIDECAR:
        return "sidecar"
    if "fieldgate.io/module" in labels:
        return "module"
    if namespace == "fieldgate":
        return "broker set-up" if container == "setup" else "broker"
    return "other pod"


def rows(node, namespaces=("fieldgate", DAPR, "kube-system")):
    """One row for each container and each component of the node: group, name, pids, pss_kib."""
    found = []
    for namespace in namespaces:
        for pod in node.pods(namespace):
            if pod["status"].get("phase") != "Running":
                continue
            for container, pids in node.pids(pod["metadata"]["name"], namespace).items():
                labels = pod["metadata"].get("labels", {})
                owner = labels.get("app.kubernetes.io/name") or labels.get("app") or pod["metadata"]["name"]
                name = owner if container == owner else f"{owner} / {container}"
                found.append(row(group_of(namespace, pod, container), name, pids))
    for name, pid in node.processes.items():
        found.append(row(CONTROL_PLANE if CONTROLLERS.search(name) else NODE, name, [pid]))
    shims = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*") if comm(path).startswith("containerd-shim")]
    if shims:
        found.append(row(SHIM, f"containerd-shim × {len(shims)}", shims))
    return sorted(found, key=lambda one: (one["group"], one["name"]))


def comm(process):
    try:
        return (process / "comm").read_text()
    except OSError:
        return ""


def row(group, name, pids):
    return {"group": group, "name": name, "pids": pids, "pss_kib": sum(pss_kib(pid) or 0 for pid in pids)}


class MemoryTable:
    """What `memory_table` returns: `rows`, the sums by group, and both as Markdown or for a JSON file."""

    def __init__(self, found):
        self.rows = found
        self.groups = {}
        for one in found:
            self.groups[one["group"]] = self.groups.get(one["group"], 0) + one["pss_kib"]
        self.ours_kib = sum(self.groups.get(group, 0) for group in OURS)

    def json(self):
        mib = {group: round(kib / 1024, 1) for group, kib in self.groups.items()}
        return {"rows": self.rows, "groups_mib": mib, "ours_mib": round(self.ours_kib / 1024, 1)}

    def markdown(self):
        lines = ["| part | process | PSS MiB |", "|---|---|---|"]
        lines += [f"| {one['group']} | {one['name']} | {one['pss_kib'] / 1024:.1f} |" for one in self.rows]
        lines += [f"| **{group}** | | **{kib / 1024:.1f}** |" for group, kib in sorted(self.groups.items())]
        return "\n".join([*lines, f"| **Fieldgate, sidecars, broker and Dapr** | | **{self.ours_kib / 1024:.1f}** |"])


def memory_table(node):
    """As it is now."""
    return MemoryTable(rows(node))
