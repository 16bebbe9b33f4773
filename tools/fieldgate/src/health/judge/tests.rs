use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::health::Boot;
use crate::health::check::Outcome;
use crate::health::cluster::Cluster;
use crate::health::expected::Expected;
use crate::health::figures::Figures;

const BOOT: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);
const BEFORE: &str = "2026-01-01T11:59:59Z";
const SINCE: &str = "2026-01-01T12:01:00Z";

fn node(boot: &str, ready: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": "gate-7"}, "status": {
        "nodeInfo": {"bootID": boot},
        "conditions": [{"type": "Ready", "status": ready, "message": "container runtime network not ready"}]}})
}

fn workload(kind: &str, namespace: &str, name: &str, labels: Value) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels, "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [{"name": name, "image": format!("fieldgate.io/{name}:0.1.0")}]}}},
        "status": {"observedGeneration": 2, "updatedReplicas": 1}})
}

fn module(name: &str) -> Value {
    workload("Deployment", "fieldgate", name, json!({MODULE: name}))
}

fn pod(namespace: &str, name: &str, started: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": format!("{name}-x"), "namespace": namespace, "labels": {"app": name, MODULE: name}},
        "spec": {"nodeName": "gate-7", "containers": [{"name": name}],
            "initContainers": [{"name": "daprd", "restartPolicy": "Always"}, {"name": "once"}]},
        "status": {"podIP": "10.42.0.9", "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": [
                {"name": "daprd", "ready": true, "state": {"running": {"startedAt": started}}},
                {"name": "once", "ready": true, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}],
            "containerStatuses": [{"name": name, "ready": true, "state": {"running": {"startedAt": started}}}]}})
}

/// A device with broker, modbus-reader and iothub-module, in order.
fn items() -> Vec<Value> {
    let broker =
        json!({"app.kubernetes.io/part-of": "fieldgate", "app.kubernetes.io/component": "broker"});
    vec![
        node("boot-1", "True"),
        workload("Deployment", "dapr-system", "dapr-operator", json!({})),
        pod("dapr-system", "dapr-operator", SINCE),
        workload("StatefulSet", "fieldgate", "broker", broker),
        pod("fieldgate", "broker", SINCE),
        module("modbus-reader"),
        pod("fieldgate", "modbus-reader", SINCE),
        module("iothub-module"),
        pod("fieldgate", "iothub-module", SINCE),
        // A plant's own, which is nobody's business here.
        workload("Deployment", "fieldgate", "grafana", json!({})),
    ]
}

fn figures() -> BTreeMap<String, Figures> {
    let reader = Figures {
        events: Some(30),
        seconds: 60,
        ..Figures::default()
    };
    let hub = Figures {
        queue_writable: Some(true),
        hub_connected: Some(true),
        ..Figures::default()
    };
    BTreeMap::from([
        ("modbus-reader".to_owned(), reader),
        ("iothub-module".to_owned(), hub),
    ])
}

fn observation(items: Vec<Value>, figures: BTreeMap<String, Figures>) -> Observation {
    Observation {
        time: datetime!(2026-01-01 12:05 UTC),
        boot: Boot {
            id: "boot-1".to_owned(),
            since: BOOT,
        },
        cluster: Cluster::parse(&json!({"items": items}).to_string()).unwrap(),
        expected: Vec::new(),
        figures,
    }
}

fn failures(items: Vec<Value>) -> Vec<String> {
    judge(&observation(items, figures()), None).failures()
}

#[test]
fn a_device_in_order_is_healthy() {
    let report = judge(&observation(items(), figures()), None);
    assert!(report.healthy, "{:?}", report.failures());
    let names: Vec<&str> = report
        .checks
        .iter()
        .map(|check| check.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "k3s",
            "node gate-7",
            "Dapr dapr-operator",
            "broker",
            "module iothub-module",
            "module modbus-reader",
            "queue",
            "hub"
        ]
    );
}

#[test]
fn a_device_that_nobody_provisioned_has_no_modules_and_is_healthy() {
    let items = items().into_iter().take(5).collect();
    let report = judge(&observation(items, BTreeMap::new()), None);
    assert!(report.healthy, "{:?}", report.failures());
}

#[test]
fn what_is_left_of_the_start_before_does_not_count() {
    let mut old = items();
    old[0] = node("boot-0", "True");
    assert_eq!(
        failures(old),
        ["node: the kubelet has not registered this start of the machine yet"]
    );
    let mut old = items();
    old[6] = pod("fieldgate", "modbus-reader", BEFORE);
    assert_eq!(
        failures(old),
        ["module modbus-reader: 0 of 1 pods ready: what is known of it is from before this start"]
    );
}

#[test]
fn a_module_says_what_keeps_it() {
    let with = |change: fn(&mut Value)| {
        let mut items = items();
        change(&mut items[6]);
        failures(items)
    };
    let pull = with(|pod| {
        pod["status"]["conditions"][0]["status"] = json!("False");
        pod["status"]["containerStatuses"][0] = json!({"name": "modbus-reader", "ready": false,
            "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not present\nmore"}}});
    });
    assert_eq!(
        pull,
        [
            "module modbus-reader: 0 of 1 pods ready: container modbus-reader: ErrImageNeverPull: image is not present"
        ]
    );
    let unready = with(|pod| {
        pod["status"]["conditions"][0]["status"] = json!("False");
        pod["status"]["containerStatuses"][0]["ready"] = json!(false);
    });
    assert_eq!(
        unready,
        ["module modbus-reader: 0 of 1 pods ready: not ready: modbus-reader"]
    );
    let pending = with(|pod| {
        pod["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory."}]});
    });
    assert_eq!(
        pending,
        [
            "module modbus-reader: 0 of 1 pods ready: Unschedulable: 0/1 nodes are available: 1 Insufficient memory."
        ]
    );
    let mut none = items();
    none.remove(6);
    none[5]["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "this pod must run with its Dapr sidecar"}]);
    assert_eq!(
        failures(none),
        [
            "module modbus-reader: 0 of 1 pods ready: FailedCreate: this pod must run with its Dapr sidecar"
        ]
    );
}

#[test]
fn the_version_before_does_not_pass_for_the_new_one() {
    let expected = |image: &str| {
        let mut module = module("modbus-reader");
        module["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        Expected {
            workload: serde_json::from_value(module).unwrap(),
            file: "modbus-reader.yaml".to_owned(),
        }
    };
    let mut seen = observation(items(), figures());
    seen.expected = vec![expected("fieldgate.io/modbus-reader:0.1.0")];
    assert!(judge(&seen, None).healthy);
    seen.expected = vec![expected("fieldgate.io/modbus-reader:0.2.0")];
    assert_eq!(
        judge(&seen, None).failures(),
        [
            "module modbus-reader: its images are fieldgate.io/modbus-reader:0.1.0, those of modbus-reader.yaml are fieldgate.io/modbus-reader:0.2.0"
        ]
    );
    seen.cluster
        .workloads
        .retain(|one| one.metadata.name != "modbus-reader");
    assert_eq!(
        judge(&seen, None).failures(),
        [
            "module modbus-reader: there is no deployment/modbus-reader; k3s has not applied modbus-reader.yaml"
        ]
    );

    // Applied, and the new pod is not ready: the old one still works.
    let mut rolling = items();
    rolling[5]["status"]["updatedReplicas"] = json!(0);
    assert_eq!(
        failures(rolling),
        ["module modbus-reader: 0 of 1 pods have its newest version"]
    );
    let mut unseen = items();
    unseen[5]["metadata"]["generation"] = json!(3);
    assert_eq!(
        failures(unseen),
        ["module modbus-reader: Kubernetes has not seen its newest version yet"]
    );
}

#[test]
fn what_worked_before_must_work_again_and_no_more() {
    let before = Known::of(&observation(items(), figures()));
    assert!(before.hub && before.modules["modbus-reader"].sends());
    assert!(!before.modules["iothub-module"].sends());

    let mut silent = figures();
    silent.get_mut("modbus-reader").unwrap().events = Some(0);
    silent.get_mut("iothub-module").unwrap().hub_connected = Some(false);
    let seen = observation(items(), silent.clone());
    assert_eq!(
        judge(&seen, Some(&before)).failures(),
        [
            "events of modbus-reader: none since this start; it sent some before",
            "hub: not connected"
        ]
    );
    // Without an update before, a hub that is out of reach is told only.
    let report = judge(&seen, None);
    assert!(report.healthy);
    assert_eq!(report.checks.last().unwrap().outcome, Outcome::Noted);

    // A module that was taken out of the description is not waited for.
    let mut without = observation(items(), silent);
    without
        .cluster
        .workloads
        .retain(|one| one.metadata.name != "modbus-reader");
    assert_eq!(
        judge(&without, Some(&before)).failures(),
        ["hub: not connected"]
    );
}

#[test]
fn what_was_broken_before_does_not_keep_an_update_out() {
    let mut broken = items();
    broken.remove(6);
    let mut figures = figures();
    figures.remove("modbus-reader");
    let seen = observation(broken, figures);
    let before = Known::of(&seen);
    assert!(!judge(&seen, None).healthy);
    let report = judge(&seen, Some(&before));
    assert!(report.healthy, "{:?}", report.failures());
    let check = report
        .checks
        .iter()
        .find(|check| check.name == "module modbus-reader")
        .unwrap();
    assert_eq!(check.outcome, Outcome::Noted);
    assert!(
        check.reason.ends_with("it was not ready before, either"),
        "{}",
        check.reason
    );
}

#[test]
fn a_queue_that_takes_nothing_is_a_failure() {
    let mut figures = figures();
    figures.get_mut("iothub-module").unwrap().queue_writable = Some(false);
    let report = judge(&observation(items(), figures), None);
    assert_eq!(
        report.failures(),
        ["queue: its disk does not take what is written"]
    );
}

#[test]
fn a_cluster_without_dapr_is_not_healthy() {
    let mut without = items();
    without.drain(1..3);
    assert_eq!(failures(without), ["Dapr: its control plane is not there"]);
}
