"""NetworkPolicies, asked on paper: whether they let a connection through (networking.k8s.io/v1, NetworkPolicySpec)."""

import ipaddress


class Policies:
    """Those of some namespaces. A peer is a pod object of Kubernetes, or an address outside of the cluster as text."""

    def __init__(self, node, namespaces):
        self.policies = [item for namespace in namespaces for item in node.get("networkpolicies", namespace=namespace)["items"]]
        items = node.get("namespaces")["items"]
        self.namespace_labels = {item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in items}

    def allow(self, source, destination, port, protocol="TCP"):
        return self._lets_out(source, destination, port, protocol) and self._lets_in(source, destination, port, protocol)

    def _lets_out(self, source, destination, port, protocol):
        rules = self._rules(source, "Egress", "egress")
        return rules is None or any(self._matches(home, rule, rule.get("to"), destination, destination, port, protocol) for home, rule in rules)

    def _lets_in(self, source, destination, port, protocol):
        rules = self._rules(destination, "Ingress", "ingress")
        return rules is None or any(self._matches(home, rule, rule.get("from"), source, destination, port, protocol) for home, rule in rules)

    def selecting(self, pod):
        """The names of the policies that concern a pod."""
        return [item["metadata"]["name"] for item in self.policies if self._selects(item, pod)]

    def _rules(self, pod, kind, key):
        """All rules for one direction of a pod, each with the namespace of its policy; None if no policy isolates the pod."""
        if isinstance(pod, str):
            return None
        selected = [item for item in self.policies if self._selects(item, pod) and kind in types(item["spec"])]
        return [(item["metadata"]["namespace"], rule) for item in selected for rule in item["spec"].get(key) or []] if selected else None

    def _selects(self, policy, pod):
        same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        return same and selector_matches(policy["spec"].get("podSelector") or {}, pod["metadata"].get("labels", {}))

    def _matches(self, home, rule, peers, peer, destination, port, protocol):
        return port_matches(rule.get("ports"), port, protocol, destination) and (not peers or any(self._is(one, peer, home) for one in peers))

    def _is(self, described, peer, home):
        if "ipBlock" in described:
            address = ipaddress.ip_address(peer if isinstance(peer, str) else peer["status"]["podIP"])
            block = described["ipBlock"]
            return address in ipaddress.ip_network(block["cidr"]) and not any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", []))
        if isinstance(peer, str):
            return False
        namespace = peer["metadata"]["namespace"]
        if "namespaceSelector" in described:
            if not selector_matches(described["namespaceSelector"], self.namespace_labels.get(namespace, {})):
                return False
        elif namespace != home:
            return False
        return selector_matches(described.get("podSelector") or {}, peer["metadata"].get("labels", {}))


def types(spec):
    """Which directions a policy is about."""
    return spec.get("policyTypes") or ["Ingress"] + (["Egress"] if "egress" in spec else [])


def selector_matches(selector, labels):
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        expression_matches(one, labels) for one in selector.get("matchExpressions") or []
    )


def expression_matches(expression, labels):
    key, values = expression["key"], expression.get("values", [])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]


def port_matches(ports, port, protocol, destination):
    if not ports:
        return True
    return any(one.get("protocol", "TCP") == protocol and number_matches(one, port, destination) for one in ports)


def number_matches(described, port, destination):
    wanted = described.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        if isinstance(destination, str):
            return False
        containers = destination["spec"].get("initContainers", []) + destination["spec"]["containers"]
        return any(one.get("name") == wanted and one["containerPort"] == port for container in containers for one in container.get("ports", []))
    return wanted <= port <= described.get("endPort", wanted)
