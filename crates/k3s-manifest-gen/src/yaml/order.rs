//! The order in which people write the keys of Kubernetes objects.

use serde_json::{Map, Value};

/// What comes first, in this order.
const FIRST: [&str; 66] = [
    "apiVersion",
    "kind",
    "type",
    "version",
    "metadata",
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "immutable",
    "provisioner",
    "value",
    "valueFrom",
    "globalDefault",
    "image",
    "imagePullPolicy",
    "restartPolicy",
    "command",
    "args",
    "workingDir",
    "clusterIP",
    "from",
    "to",
    "ports",
    "containerPort",
    "path",
    "port",
    "targetPort",
    "protocol",
    "env",
    "envFrom",
    "storageClassName",
    "capacity",
    "accessModes",
    "resources",
    "requests",
    "limits",
    "volumeMounts",
    "mountPath",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "httpGet",
    "lifecycle",
    "replicas",
    "revisionHistoryLimit",
    "serviceName",
    "podSelector",
    "policyTypes",
    "ingress",
    "egress",
    "selector",
    "strategy",
    "updateStrategy",
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "priorityClassName",
    "nodeSelector",
    "affinity",
    "terminationGracePeriodSeconds",
    "pubsubname",
    "topic",
    "policy",
    "duration",
];

/// What comes last, in this order; everything else stands between, by the alphabet.
const LAST: [&str; 13] = [
    "template",
    "volumeClaimTemplates",
    "securityContext",
    "initContainers",
    "containers",
    "volumes",
    "roleRef",
    "subjects",
    "spec",
    "scopes",
    "data",
    "binaryData",
    "status",
];

/// A mapping's entries in that order.
pub(crate) fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by(|(left, _), (right, _)| {
        rank(left).cmp(&rank(right)).then_with(|| left.cmp(right))
    });
    entries
}

fn rank(key: &str) -> usize {
    let at = |list: &[&str]| list.iter().position(|known| *known == key);
    at(&FIRST)
        .or_else(|| at(&LAST).map(|position| FIRST.len() + 1 + position))
        .unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_begins_with_what_it_is_and_a_container_with_its_name() {
        let keys = |value: Value| -> Vec<String> {
            let map = value.as_object().unwrap().clone();
            ordered(&map)
                .into_iter()
                .map(|(key, _)| key.clone())
                .collect()
        };
        assert_eq!(
            keys(json!({"spec": 1, "kind": 1, "metadata": 1, "apiVersion": 1})),
            ["apiVersion", "kind", "metadata", "spec"]
        );
        assert_eq!(
            keys(json!({"ports": 1, "image": 1, "securityContext": 1, "stdin": 1, "name": 1})),
            ["name", "image", "ports", "stdin", "securityContext"]
        );
    }

    #[test]
    fn no_key_has_two_places() {
        for key in LAST {
            assert!(!FIRST.contains(&key), "{key}");
        }
    }
}
