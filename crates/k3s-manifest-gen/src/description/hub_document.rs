//! What of iothub-module's document depends on the description: its volume, its certificates, and its rights.

use broker_setup::ACK_WAIT;
use module_runtime::configuration::{ByteSize, Duration};
use module_runtime::{Problem, path};
use serde_json::Value;

use super::resolve::default_calls;
use crate::yaml::{Located, value_at};

/// What outlives a pod.
const STATE: &str = "/var/lib/fieldgate/state/";
/// Where iothub-module finds the hub's private certification authority.
const HUB_CA: &str = "/etc/fieldgate/hub/ca.pem";

/// Checks the document against what the description says of the module, and of the rest.
pub(super) fn check(
    document: &Located,
    described: &Value,
    description: &Value,
    problems: &mut Vec<Problem>,
) {
    check_queue(document, described, problems);
    check_hub(document, description, problems);
    check_subscriptions(document, described, problems);
    check_commands(document, described, description, problems);
    check_intake(document, problems);
}

/// What the broker delivers again must find its successors still waiting.
fn check_intake(document: &Located, problems: &mut Vec<Problem>) {
    let at = path!["intake", "reorder_wait"];
    let written = value_at(document.value(), &at).and_then(Value::as_str);
    let wait: Option<Duration> = written.and_then(|text| text.parse().ok());
    if let Some(wait) = wait
        && wait.get() <= ACK_WAIT
    {
        problems.push(document.problem(
            &at,
            format!(
                "{wait} is too short: {}s after a sidecar has vanished the broker delivers again what it had, and that would be stored behind its successors; leave it out (10s), or write more than {0}s",
                ACK_WAIT.as_secs()
            ),
        ));
    }
}

/// A subscription goes through a component, and the description makes the components.
fn check_subscriptions(document: &Located, described: &Value, problems: &mut Vec<Problem>) {
    let component = |one: &Value| -> Option<(String, String)> {
        let topic = one.as_str().or_else(|| one.get("topic")?.as_str())?;
        let component = match one.get("component").and_then(Value::as_str) {
            Some(component) => component.to_owned(),
            None => format!("pubsub-{topic}"),
        };
        Some((component, topic.to_owned()))
    };
    let components: Vec<(String, String)> = match described.get("subscribes") {
        None => ["telemetry", "status"]
            .iter()
            .filter_map(|topic| component(&Value::from(*topic)))
            .collect(),
        Some(written) => list(Some(written)).iter().filter_map(component).collect(),
    };
    for (index, one) in list(document.value().get("subscriptions"))
        .iter()
        .enumerate()
    {
        let text = |key: &str| one.get(key).and_then(Value::as_str);
        let (Some(pubsub), Some(topic)) = (text("pubsub"), text("topic")) else {
            continue;
        };
        let is_there = components
            .iter()
            .any(|(component, of)| component == pubsub && of == topic);
        if !is_there {
            let known: Vec<String> = components
                .iter()
                .map(|(component, topic)| format!("{component} for {topic}"))
                .collect();
            problems.push(document.problem(
                &path!["subscriptions", index, "pubsub"],
                format!(
                    "the pod has no component {pubsub} for {topic}; there are: {}. More come with modules.iothub-module.subscribes of the description",
                    known.join(", ")
                ),
            ));
        }
    }
}

/// A command that the sidecar of the other module refuses is of no use to the cloud.
fn check_commands(
    document: &Located,
    described: &Value,
    description: &Value,
    problems: &mut Vec<Problem>,
) {
    let is_there = |module: &str| description["modules"].get(module).is_some();
    let calls: Vec<&str> = match described.get("calls") {
        None => default_calls(is_there).collect(),
        written => list(written).iter().filter_map(Value::as_str).collect(),
    };
    let allowed = value_at(document.value(), &path!["commands", "allow"]);
    for (index, one) in list(allowed).iter().enumerate() {
        let Some(method) = one.get("method").and_then(Value::as_str) else {
            continue;
        };
        if !calls.contains(&method) {
            problems.push(document.problem(
                &path!["commands", "allow", index, "method"],
                format!(
                    "the module has no right to call {method}; add it to modules.iothub-module.calls of the description, or remove it here"
                ),
            ));
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The queue must outlive the pod, and fit.
fn check_queue(document: &Located, described: &Value, problems: &mut Vec<Problem>) {
    let at = path!["queue", "path"];
    if let Some(written) = value_at(document.value(), &at).and_then(Value::as_str)
        && (!written.starts_with(STATE) || written.contains(".."))
    {
        problems.push(document.problem(
            &at,
            format!("{written} is not on the module's volume, so it would not outlive the pod; write {STATE}queue.db"),
        ));
    }
    let size = |value: Option<&Value>| -> Option<ByteSize> {
        match value? {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64().map(ByteSize::from_bytes),
        }
    };
    let at = path!["queue", "max_bytes"];
    let storage = match described.get("storage") {
        None => Some(ByteSize::from_mib(2048)),
        written => size(written),
    };
    if let (Some(queue), Some(storage)) = (size(value_at(document.value(), &at)), storage)
        && queue > storage
    {
        problems.push(document.problem(
            &at,
            format!("{queue} does not fit into the module's volume of {storage}; make it smaller, or modules.iothub-module.storage of the description larger"),
        ));
    }
}

/// The private certification authority must be where the pod has it.
fn check_hub(document: &Located, description: &Value, problems: &mut Vec<Problem>) {
    let at = path!["hub", "ca_file"];
    let written = value_at(document.value(), &at).and_then(Value::as_str);
    let is_given = description.pointer("/hub/ca").is_some_and(Value::is_string);
    match written {
        Some(written) if written != HUB_CA => problems.push(document.problem(
            &at,
            format!("the pod has no {written}; name the certificates under hub.ca of the description, and write {HUB_CA} here"),
        )),
        Some(_) if !is_given => problems.push(document.problem(
            &at,
            "the description names no certificates; add hub.ca to it, or remove this",
        )),
        None if is_given => problems.push(document.problem(
            &path!["hub"],
            format!("the description has hub.ca, which nothing uses; add ca_file: {HUB_CA} here"),
        )),
        _ => {}
    }
}
