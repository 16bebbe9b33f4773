//! From what was observed to what is healthy.

use super::Observation;
use super::check::{Check, Report};
use super::cluster::Workload;
use super::known::Known;
use super::workload::{Trouble, trouble};

/// Names the module a workload and its pods are of.
pub(crate) const MODULE: &str = "fieldgate.io/module";
const DAPR: &str = "dapr-system";

/// What a workload is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Dapr(String),
    Broker,
    Module(String),
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Dapr(name) => format!("Dapr {name}"),
            Self::Broker => "broker".to_owned(),
            Self::Module(name) => format!("module {name}"),
        }
    }
}

/// Whether the device needs a workload; others are a plant's own affair.
pub(crate) fn wanted(workload: &Workload) -> Option<Part> {
    let labels = &workload.metadata.labels;
    if workload.metadata.namespace == DAPR {
        return Some(Part::Dapr(workload.metadata.name.clone()));
    }
    if let Some(module) = labels.get(MODULE) {
        return Some(Part::Module(module.clone()));
    }
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    (is("app.kubernetes.io/part-of", "fieldgate") && is("app.kubernetes.io/component", "broker"))
        .then_some(Part::Broker)
}

/// All checks. With `known`, what did not work before is told and does not count, and what worked must work again.
pub(crate) fn judge(observation: &Observation, known: Option<&Known>) -> Report {
    let mut checks = vec![
        Check::passed("k3s", "its API server answers"),
        node(observation),
    ];
    let parts = parts(observation);
    if !parts.iter().any(|(part, ..)| matches!(part, Part::Dapr(_))) {
        checks.push(Check::failed(
            "Dapr",
            "its control plane is not there",
            "journalctl -u k3s -u fieldgate-install: dapr.yaml must lie in k3s's manifests folder",
        ));
    }
    for (part, trouble) in parts {
        let check = match trouble {
            None => Check::passed(part.name(), "ready"),
            Some(trouble) => Check::failed(part.name(), trouble.reason, trouble.remedy),
        };
        let was_not_ready = |name: &String| {
            known.is_some_and(|known| known.modules.get(name).is_some_and(|module| !module.ready))
        };
        checks.push(match &part {
            Part::Module(name) if was_not_ready(name) => {
                check.only_noted("it was not ready before, either")
            }
            _ => check,
        });
    }
    if let Some(known) = known {
        checks.extend(events(observation, known));
    }
    checks.extend(queue(observation));
    checks.extend(hub(observation, known));
    Report::new(checks)
}

fn node(observation: &Observation) -> Check {
    let cluster = &observation.cluster;
    let Some(node) = cluster.node_of(&observation.boot.id) else {
        return Check::failed(
            "node",
            "the kubelet has not registered this start of the machine yet",
            "journalctl -u k3s",
        );
    };
    let name = format!("node {}", node.metadata.name);
    let ready = node
        .status
        .conditions
        .iter()
        .find(|one| one.kind == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => Check::passed(name, "ready"),
        Some(ready) => Check::failed(
            name,
            format!("not ready: {}", ready.message),
            format!("kubectl describe node {}", node.metadata.name),
        ),
        None => Check::failed(
            name,
            "it says nothing about itself yet",
            "journalctl -u k3s",
        ),
    }
}

/// What runs, and what should and does not.
fn parts(observation: &Observation) -> Vec<(Part, Option<Trouble>)> {
    let cluster = &observation.cluster;
    let mut parts = Vec::new();
    for workload in &cluster.workloads {
        let Some(part) = wanted(workload) else {
            continue;
        };
        let outdated = observation
            .expected
            .iter()
            .find(|expected| same(&expected.workload, workload))
            .filter(|expected| expected.workload.images() != workload.images());
        let trouble = match outdated {
            Some(expected) => Some(Trouble {
                reason: format!(
                    "its images are {}, those of {} are {}",
                    workload.images().join(", "),
                    expected.file,
                    expected.workload.images().join(", ")
                ),
                remedy: "journalctl -u k3s says why it did not apply the file".to_owned(),
            }),
            None => trouble(workload, cluster, &observation.boot),
        };
        parts.push((part, trouble));
    }
    for expected in &observation.expected {
        let there = cluster.workloads.iter();
        if there
            .clone()
            .any(|workload| same(&expected.workload, workload))
        {
            continue;
        }
        if let Some(part) = wanted(&expected.workload) {
            let trouble = Trouble {
                reason: format!(
                    "there is no {}; k3s has not applied {}",
                    expected.workload.words(),
                    expected.file
                ),
                remedy: "journalctl -u k3s".to_owned(),
            };
            parts.push((part, Some(trouble)));
        }
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts
}

fn same(a: &Workload, b: &Workload) -> bool {
    a.kind == b.kind
        && a.metadata.name == b.metadata.name
        && a.metadata.namespace == b.metadata.namespace
}

/// One event since this start from everybody who sent some before.
fn events(observation: &Observation, known: &Known) -> Vec<Check> {
    let sent_before = known.modules.iter().filter(|(_, module)| module.sends());
    let is_there = |name: &str| {
        let there = observation.cluster.workloads.iter();
        let should = observation.expected.iter().map(|one| &one.workload);
        there
            .chain(should)
            .any(|workload| wanted(workload) == Some(Part::Module(name.to_owned())))
    };
    sent_before
        // Taken out of the description meanwhile.
        .filter(|(name, _)| is_there(name))
        .map(|(name, _)| {
            let check = format!("events of {name}");
            let figures = observation.figures.get(name);
            let events = figures.and_then(|figures| figures.events).unwrap_or(0);
            if events > 0 {
                return Check::passed(check, format!("{events} since this start"));
            }
            let why = match figures {
                None => "it is not ready".to_owned(),
                Some(figures) => match &figures.error {
                    Some(error) => format!("its figures cannot be read: {error}"),
                    None => "none since this start; it sent some before".to_owned(),
                },
            };
            Check::failed(
                check,
                why,
                format!("kubectl logs -A -l {MODULE}={name} --all-containers"),
            )
        })
        .collect()
}

fn queue(observation: &Observation) -> Option<Check> {
    let states: Vec<bool> = observation
        .figures
        .values()
        .filter_map(|figures| figures.queue_writable)
        .collect();
    let writable = states.iter().any(|writable| *writable);
    (!states.is_empty()).then(|| {
        if writable {
            Check::passed("queue", "what was last written is safe on its disk")
        } else {
            Check::failed(
                "queue",
                "its disk does not take what is written",
                "df -h /var/lib/fieldgate; the log of iothub-module names the error",
            )
        }
    })
}

fn hub(observation: &Observation, known: Option<&Known>) -> Option<Check> {
    let states: Vec<bool> = observation
        .figures
        .values()
        .filter_map(|figures| figures.hub_connected)
        .collect();
    let was = known.is_some_and(|known| known.hub);
    let is = states.iter().any(|connected| *connected);
    if is {
        return Some(Check::passed("hub", "connected"));
    }
    if states.is_empty() && !was {
        return None;
    }
    let check = Check::failed(
        "hub",
        "not connected",
        "network, clock, and the reason in the log of iothub-module",
    );
    Some(if was {
        check
    } else {
        check.only_noted("events wait in the queue")
    })
}

#[cfg(test)]
mod tests;
