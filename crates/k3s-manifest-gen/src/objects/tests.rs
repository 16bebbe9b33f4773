//! What holds for all objects together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::testing::{all, appliance, custom, documents, files, find, from, variables};
use super::{admission, manifest_files};
use crate::{Appliance, Documents, ManifestFile, Ownership};

/// Pod specs of Deployments and StatefulSets, by the object's name.
fn pods(files: &[ManifestFile]) -> BTreeMap<String, Value> {
    all(files)
        .into_iter()
        .filter(|object| object["kind"] == "Deployment" || object["kind"] == "StatefulSet")
        .map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            (name, object["spec"]["template"]["spec"].clone())
        })
        .collect()
}

fn containers(pod: &Value) -> &Vec<Value> {
    pod["containers"].as_array().unwrap()
}

/// In MiB.
fn memory(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    match text.strip_suffix("Gi") {
        Some(number) => number.parse::<u64>().unwrap() * 1024,
        None => text.strip_suffix("Mi").unwrap().parse().unwrap(),
    }
}

/// Calls `see` with every key and value at any depth.
fn walk(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                see(key, inner);
                walk(inner, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
        _ => {}
    }
}

#[test]
fn the_files_of_an_appliance() {
    let files = files();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "fieldgate-appliance.yaml",
            "fieldgate-broker.yaml",
            "bare.yaml",
            "iothub-module.yaml",
            "iothub-module-configuration.yaml",
            "modbus-reader.yaml",
            "modbus-reader-configuration.yaml",
            "my-filter.yaml",
        ]
    );
    for file in &files {
        let seed = file.name.contains("-configuration.");
        assert_eq!(file.ownership == Ownership::Seed, seed, "{}", file.name);
        assert!(file.purpose.ends_with('.'), "{}", file.purpose);
    }
    // Of two files with the same name up to the first dot, k3s takes away what the other has.
    let apart: BTreeSet<_> = names.iter().map(|name| name.split('.').next()).collect();
    assert_eq!(apart.len(), names.len());
}

#[test]
fn the_order_of_a_description_does_not_matter() {
    let one = json!({"appliance": "a", "modules": {
        "x": {"image": "i:1", "env": {"A": "1", "B": "2"}, "publishes": ["alarms", "telemetry"], "calls": ["z.b", "z.a"]},
        "z": {"image": "i:2", "app_port": 1},
    }});
    let other = r#"{"modules": {"z": {"app_port": 1, "image": "i:2"},
        "x": {"calls": ["z.a", "z.b"], "publishes": ["telemetry", "alarms"], "env": {"B": "2", "A": "1"}, "image": "i:1"}},
        "appliance": "a"}"#;
    let other: Value = serde_json::from_str(other).unwrap();
    let nothing = Documents::default();
    assert_eq!(
        manifest_files(&from(&one), &nothing),
        manifest_files(&from(&other), &nothing)
    );
}

#[test]
fn every_object_has_a_kind_a_name_labels_and_nothing_null() {
    let files = files();
    let mut seen = BTreeSet::new();
    for object in all(&files) {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        for path in ["/apiVersion", "/kind", "/metadata/name"] {
            assert!(!text(path).is_empty(), "{path} of {object}");
        }
        assert!(
            seen.insert((
                text("/kind"),
                text("/metadata/namespace"),
                text("/metadata/name")
            )),
            "twice: {object}"
        );
        for label in ["name", "component", "part-of", "managed-by"] {
            let label = format!("app.kubernetes.io/{label}");
            assert!(
                object["metadata"]["labels"].get(&label).is_some(),
                "{label} of {object}"
            );
        }
        walk(object, &mut |key, value| {
            assert!(!value.is_null(), "{key} of {object}")
        });
    }
    for file in &files {
        for object in &file.objects {
            assert!(!object.comment.is_empty() && !object.comment.contains('\n'));
        }
    }
}

#[test]
fn every_object_is_one_of_the_target_version() {
    for object in all(&manifest_files(&three_nodes(), &documents())) {
        assert_eq!(crate::validate::validate(object), [], "{object}");
    }
}

#[test]
fn nothing_is_privileged_and_every_container_is_confined() {
    let files = files();
    for object in all(&files) {
        walk(object, &mut |key, value| match key {
            "privileged"
            | "allowPrivilegeEscalation"
            | "hostNetwork"
            | "hostPID"
            | "hostIPC"
            | "automountServiceAccountToken" => {
                assert_eq!(value, &json!(false), "{key} of {object}");
            }
            "hostPath" | "hostPort" => panic!("{key} in {object}"),
            "add" => panic!("a capability is added in {object}"),
            _ => {}
        });
    }
    for (name, pod) in pods(&files) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["runAsUser"], 65532, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        assert!(
            pod["priorityClassName"]
                .as_str()
                .unwrap()
                .starts_with("fieldgate-"),
            "{name}"
        );
        for container in containers(&pod) {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{name}"
            );
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{name}");
            for bound in ["limits", "requests"] {
                for what in ["cpu", "memory"] {
                    assert!(
                        container["resources"][bound].get(what).is_some(),
                        "{bound}.{what} of {name}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_go_may_take_is_less_than_what_the_kernel_lets_it() {
    for pod in pods(&files()).values() {
        for container in containers(pod) {
            let environment = container
                .get("env")
                .map(|_| variables(container))
                .unwrap_or_default();
            if let Some(goal) = environment.get("GOMEMLIMIT") {
                let goal: u64 = goal.strip_suffix("MiB").unwrap().parse().unwrap();
                let limit = memory(&container["resources"]["limits"]["memory"]);
                assert!(goal > 0 && goal < limit, "{goal} of {limit}");
            }
        }
    }
}

#[test]
fn no_secret_stands_in_a_manifest_but_by_name() {
    let files = files();
    for object in all(&files) {
        assert_ne!(object["kind"], "Secret");
    }
    let text = serde_json::to_string(&all(&files)).unwrap();
    // Prefixes of seeds and public keys of NATS, and of a hub's connection string.
    for secret in ["SUA", "SUH", "SharedAccessKey", "nkey: U", "password"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_pod_that_is_selected_by_the_injector_is_one_that_the_policy_looks_at() {
    for object in all(&files()) {
        if object["kind"] != "Deployment" {
            continue;
        }
        let template = &object["spec"]["template"]["metadata"];
        assert_eq!(template["labels"]["fieldgate.io/sidecar"], "required");
        assert_eq!(template["annotations"]["dapr.io/enabled"], "true");
        assert_eq!(
            template["annotations"]["dapr.io/config"],
            object["metadata"]["name"]
        );
    }
    let namespace = find(&files(), "Namespace", "fieldgate");
    assert_eq!(
        namespace["metadata"]["labels"]["fieldgate.io/modules"],
        "true"
    );
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce-version"],
        "v1.34"
    );
    let [policy, binding] = admission::objects();
    assert_eq!(policy.value["spec"]["failurePolicy"], "Fail");
    let selector = &policy.value["spec"]["matchConstraints"]["namespaceSelector"];
    assert_eq!(
        selector["matchLabels"],
        json!({"fieldgate.io/modules": "true"})
    );
    assert_eq!(
        binding.value["spec"]["policyName"],
        policy.value["metadata"]["name"]
    );
    let first = &manifest_files(&appliance(), &documents())[0].objects;
    assert_eq!(first[0], policy, "in force before there is a namespace");
}

#[test]
fn sidecars_reach_each_other_only_where_a_call_is_described() {
    let files = files();
    let peers = |policy: &Value, direction: &str, peer: &str| -> Vec<String> {
        let rules = policy["spec"][direction]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rules
            .iter()
            .filter(|rule| {
                rule["ports"]
                    .as_array()
                    .is_some_and(|ports| ports.iter().any(|port| port["port"] == 50002))
            })
            .flat_map(|rule| rule[peer].as_array().unwrap().clone())
            .map(|peer| {
                peer["podSelector"]["matchLabels"]["fieldgate.io/module"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let reader = find(&files, "NetworkPolicy", "modbus-reader");
    assert_eq!(
        peers(&reader, "ingress", "from"),
        ["iothub-module", "my-filter"]
    );
    assert!(peers(&reader, "egress", "to").is_empty());
    let filter = find(&files, "NetworkPolicy", "my-filter");
    assert_eq!(peers(&filter, "egress", "to"), ["modbus-reader"]);
    assert!(peers(&filter, "ingress", "from").is_empty());
    assert_eq!(
        filter["spec"]["egress"][1]["to"],
        json!([{"ipBlock": {"cidr": "192.168.1.10/32"}}])
    );
    assert!(all(&files).iter().all(|object| object["kind"] != "NetworkPolicy" || object["metadata"]["name"] != "bare"));
}

#[test]
fn field_and_hub_are_reached_and_the_cluster_behind_them_is_not() {
    let files = files();
    for module in ["modbus-reader", "iothub-module"] {
        let policy = find(&files, "NetworkPolicy", module);
        for rule in policy["spec"]["egress"].as_array().unwrap() {
            for peer in rule["to"].as_array().unwrap() {
                let cidr = peer["ipBlock"]["cidr"].as_str().unwrap_or_default();
                if cidr == "10.0.0.0/8" || cidr == "0.0.0.0/0" {
                    let except = peer["ipBlock"]["except"].as_array().unwrap();
                    assert!(except.contains(&json!("10.42.0.0/16")), "{module}: {rule}");
                }
            }
        }
    }
}

#[test]
fn the_broker_has_a_key_for_each_user_and_restarts_for_another_configuration() {
    let files = files();
    let nats = find(&files, "ConfigMap", "broker-configuration")["data"]["nats.conf"].clone();
    let nats = nats.as_str().unwrap();
    let pod = &pods(&files)["broker"];
    let server = containers(pod)
        .iter()
        .find(|one| one["name"] == "broker")
        .unwrap();
    let keys: BTreeMap<&str, &str> = server["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| {
            Some((
                one["name"].as_str()?,
                one["valueFrom"]["secretKeyRef"]["key"].as_str()?,
            ))
        })
        .collect();
    assert_eq!(keys["NKEY_SETUP"], "setup-public");
    assert_eq!(keys["NKEY_MY_FILTER"], "my-filter");
    for named in nats
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nkey: $"))
    {
        assert!(keys.contains_key(named), "{named}");
    }
    assert_eq!(nats.matches("nkey: $").count(), keys.len());
    // The seed is the set-up's alone.
    assert!(!keys.values().any(|key| *key == "setup"));

    let checksum = |files: &[ManifestFile]| {
        let set = find(files, "StatefulSet", "broker");
        set["spec"]["template"]["metadata"]["annotations"]["fieldgate.io/configuration-sha256"]
            .clone()
    };
    let more = manifest_files(
        &custom(r#"{"image": "x/f:1", "publishes": ["alarms"]}"#),
        &Documents::default(),
    );
    let less = manifest_files(&custom(r#"{"image": "x/f:1"}"#), &Documents::default());
    assert_ne!(checksum(&more), checksum(&less));
}

#[test]
fn nobody_reaches_a_broker_that_is_not_ready() {
    let files = files();
    let service = find(&files, "Service", "broker");
    assert!(service["spec"].get("publishNotReadyAddresses").is_none());
    let pod = &pods(&files)["broker"];
    let setup = containers(pod)
        .iter()
        .find(|one| one["name"] == "setup")
        .unwrap();
    assert_eq!(setup["readinessProbe"]["httpGet"]["path"], "/readyz");
    let selector = &service["spec"]["selector"];
    let labels =
        find(&files, "StatefulSet", "broker")["spec"]["template"]["metadata"]["labels"].clone();
    for (key, value) in selector.as_object().unwrap() {
        assert_eq!(&labels[key], value, "{key}");
    }
}

#[test]
fn every_claim_that_a_pod_names_has_its_volume() {
    let files = files();
    for (name, pod) in pods(&files) {
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else {
                continue;
            };
            let claimed = find(&files, "PersistentVolumeClaim", claim);
            let volume = find(
                &files,
                "PersistentVolume",
                claimed["spec"]["volumeName"].as_str().unwrap(),
            );
            assert_eq!(volume["spec"]["claimRef"]["name"], claim, "{name}");
            assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
            assert_eq!(
                volume["spec"]["local"]["path"],
                format!("/var/lib/fieldgate/volumes/{claim}")
            );
        }
    }
    find(&files, "PersistentVolume", "fieldgate-data-broker-0");
}

#[test]
fn three_brokers_stand_apart_and_know_each_other() {
    let files = manifest_files(&three_nodes(), &documents());
    let set = find(&files, "StatefulSet", "broker");
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert!(set["spec"]["template"]["spec"].get("affinity").is_some());
    let pod = &pods(&files)["broker"];
    let own = containers(pod);
    let address = variables(&own[0])["BROKER_ROUTE_2"].clone();
    assert_eq!(
        address,
        "nats://broker:$(BROKER_ROUTES)@broker-2.broker-peers.fieldgate.svc.cluster.local:6222"
    );
    // Kubernetes puts in only what stands before.
    let order: Vec<&str> = own[0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .filter(|name| name.starts_with("BROKER_ROUTE"))
        .collect();
    assert_eq!(order[0], "BROKER_ROUTES");
    let map = find(&files, "ConfigMap", "broker-configuration");
    let nats = map["data"]["nats.conf"].as_str().unwrap();
    assert!(nats.contains("routes: [$BROKER_ROUTE_0, $BROKER_ROUTE_1, $BROKER_ROUTE_2]"));
    let peers = find(&files, "Service", "broker-peers");
    assert_eq!(peers["spec"]["publishNotReadyAddresses"], true);
    let policy = find(&files, "NetworkPolicy", "broker");
    assert_eq!(policy["spec"]["egress"][0]["ports"][0]["port"], 6222);
    assert_eq!(
        find(&files, "PodDisruptionBudget", "broker")["spec"]["maxUnavailable"],
        1
    );
}

/// [`appliance`] on three nodes.
fn three_nodes() -> Appliance {
    let mut appliance = appliance();
    appliance.nodes = ["gate-7", "gate-8", "gate-9"].map(str::to_owned).into();
    appliance.broker.replicas = 3;
    for (module, node) in [("my-filter", "gate-9"), ("modbus-reader", "gate-8")] {
        appliance.modules.get_mut(module).unwrap().node = Some(node.to_owned());
    }
    appliance
}

#[test]
fn with_several_nodes_every_folder_is_on_one_of_them() {
    let files = manifest_files(&three_nodes(), &documents());
    let volumes: Vec<&Value> = all(&files)
        .into_iter()
        .filter(|object| object["kind"] == "PersistentVolume")
        .collect();
    let node = |name: &str| {
        let volume = volumes.iter().find(|one| one["metadata"]["name"] == name);
        let terms = &volume.unwrap()["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        let [storage, host] = terms[0]["matchExpressions"].as_array().unwrap().as_slice() else {
            panic!("{name}: {terms}");
        };
        assert_eq!(storage["key"], "fieldgate.io/storage");
        assert_eq!(host["key"], "kubernetes.io/hostname");
        host["values"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(volumes.len(), 5);
    for (name, expected) in [
        ("fieldgate-data-broker-0", "gate-7"),
        ("fieldgate-data-broker-1", "gate-8"),
        ("fieldgate-data-broker-2", "gate-9"),
        ("fieldgate-modbus-reader-state", "gate-8"),
        ("fieldgate-iothub-module-state", "gate-7"),
    ] {
        assert_eq!(node(name), expected, "{name}");
    }
    let pods = pods(&files);
    assert_eq!(
        pods["my-filter"]["nodeSelector"],
        json!({"kubernetes.io/hostname": "gate-9"})
    );
    // A volume holds its pod itself; what has none may run anywhere.
    for name in ["modbus-reader", "iothub-module", "bare", "broker"] {
        assert!(pods[name].get("nodeSelector").is_none(), "{name}");
    }
}

#[test]
fn the_agent_reaches_its_host_by_one_folder_and_is_called_by_nobody_else() {
    let description = json!({"appliance": "gate-7", "nodes": ["gate-7", "gate-8"], "modules": {
        "device-agent": {},
        "iothub-module": {"configuration": "iothub-module.yaml"},
        "modbus-reader": {"configuration": "modbus-reader.yaml"},
    }});
    let files = manifest_files(&from(&description), &documents());
    let pod = &pods(&files)["device-agent"];
    assert_eq!(pod["securityContext"]["supplementalGroups"], json!([65531]));
    assert!(pod["securityContext"].get("fsGroup").is_none());
    // Its volume says where it is.
    assert!(pod.get("nodeSelector").is_none());
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "host", "persistentVolumeClaim": {"claimName": "device-agent-host", "readOnly": true}})
    );
    assert_eq!(
        containers(pod)[0]["volumeMounts"][1],
        json!({"name": "host", "mountPath": "/run/fieldgate", "readOnly": true})
    );
    let volume = find(&files, "PersistentVolume", "fieldgate-device-agent-host");
    assert_eq!(
        volume["spec"]["local"]["path"],
        "/var/lib/fieldgate/volumes/device-agent-host"
    );
    let place = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
    assert_eq!(
        place["matchExpressions"][1]["values"],
        json!(["gate-7"]),
        "the first node is the one that it updates"
    );
    for (name, pod) in pods(&files) {
        let has_group = pod["securityContext"].get("supplementalGroups").is_some();
        assert_eq!(has_group, name == "device-agent", "{name}");
    }
    let policy = find(&files, "NetworkPolicy", "device-agent");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let control =
        &find(&files, "Configuration", "device-agent")["spec"]["accessControl"]["policies"];
    assert_eq!(control.as_array().unwrap().len(), 1);
    assert_eq!(control[0]["appId"], "iothub-module");
    let called: Vec<&str> = control[0]["operations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(
        called,
        ["/health", "/reset", "/restart", "/update", "/update-status"]
    );
}

#[test]
fn the_hubs_certificates_are_mounted_where_there_are_some() {
    let with = files();
    assert_eq!(
        find(&with, "ConfigMap", "hub-ca")["data"]["ca.pem"],
        documents().hub_ca.unwrap()
    );
    let mounted = |files: &[ManifestFile]| {
        let pods = pods(files);
        let container = &containers(&pods["iothub-module"])[0];
        container["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|mount| mount["mountPath"] == "/etc/fieldgate/hub")
    };
    assert!(mounted(&with));
    let public = Documents {
        hub_ca: None,
        ..documents()
    };
    assert!(!mounted(&manifest_files(&appliance(), &public)));
}

#[test]
fn a_module_that_says_nothing_is_still_sensible() {
    let files = manifest_files(&custom(r#"{"image": "x/f:1"}"#), &Documents::default());
    let file = files
        .iter()
        .find(|file| file.name == "filter.yaml")
        .unwrap();
    let kinds: Vec<&str> = file
        .objects
        .iter()
        .filter_map(|object| object.value["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["ServiceAccount", "Configuration", "Deployment"]);
    assert_eq!(files.len(), 3, "no document, no file for it");
}
