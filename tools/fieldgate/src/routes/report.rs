//! What is said about an event that was tried.

use std::collections::BTreeMap;
use std::fmt::Write;

use ::routes::{BatchConfiguration, Explanation, Handling, Mismatch, Routes, Treatment};
use module_runtime::configuration::Duration;
use serde::Serialize;
use serde_json::json;

use super::document::Document;

/// The outcome for one event, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Trial {
    id: String,
    topic: String,
    pub(super) route: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    drop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchConfiguration>,
    properties: BTreeMap<String, String>,
    left_out: BTreeMap<String, String>,
    passed_over: Vec<Passed>,
}

/// A rule that did not take the event.
#[derive(Debug, Serialize)]
struct Passed {
    route: String,
    because: Vec<Mismatch>,
}

impl Trial {
    pub(super) fn of(
        id: &str,
        topic: &str,
        explanation: &Explanation<'_>,
        expected: Option<&str>,
    ) -> Self {
        let decision = &explanation.decision;
        let handling = match &decision.route.treatment {
            Treatment::Drop => None,
            Treatment::Send(handling) => Some(handling.clone()),
        };
        let drop = handling.is_none();
        let (
            priority,
            Handling {
                lifetime,
                identity,
                batch,
                ..
            },
        ) = (
            handling.as_ref().map(|handling| handling.priority),
            handling.unwrap_or_default(),
        );
        let pairs = |pairs: &[(&str, String)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect()
        };
        let passed = explanation.passed_over.iter().map(|passed| Passed {
            route: passed.route.to_owned(),
            because: passed.mismatches.clone(),
        });
        Self {
            id: id.to_owned(),
            topic: topic.to_owned(),
            route: decision.route.name.to_string(),
            expected: expected.map(str::to_owned),
            drop,
            priority,
            // Made of whole milliseconds in the document.
            ttl: lifetime
                .and_then(|ttl| u64::try_from(ttl.as_millis()).ok())
                .map(Duration::from_millis),
            identity: identity.as_deref().map(str::to_owned),
            batch,
            properties: pairs(&decision.properties),
            left_out: pairs(&explanation.left_out),
            passed_over: passed.collect(),
        }
    }

    pub(super) fn is_unexpected(&self) -> bool {
        self.expected
            .as_ref()
            .is_some_and(|expected| *expected != self.route)
    }

    pub(super) fn as_json(&self, place: &str) -> String {
        let mut object = json!(self);
        object["event"] = place.into();
        format!("{object}\n")
    }

    /// What follows for the event, in a line.
    fn consequence(&self) -> String {
        let Some(priority) = self.priority else {
            return "dropped: acknowledged, counted, sent nowhere".to_owned();
        };
        let mut text = format!("sent with priority {priority}");
        // Writing to a String cannot fail.
        if let Some(ttl) = self.ttl {
            let _ = write!(text, ", dropped after {ttl}");
        }
        if let Some(identity) = &self.identity {
            let _ = write!(text, ", by the identity {identity}");
        }
        match &self.batch {
            None => text.push_str(", as a message of its own"),
            Some(batch) => {
                let encoding = json!(batch.encoding);
                let zip = if batch.gzip { " with gzip" } else { "" };
                let _ = write!(
                    text,
                    ", with others in a message ({}{zip}, up to {}, after {})",
                    encoding.as_str().unwrap_or_default(),
                    batch.max_bytes,
                    batch.max_delay
                );
            }
        }
        text
    }
}

/// The outcome for one event, for people.
#[derive(Debug)]
pub(super) struct Text {
    head: String,
    lines: Vec<String>,
}

impl Text {
    pub(super) fn of(trial: &Trial, explanation: &Explanation<'_>, document: &Document) -> Self {
        let mut lines = Vec::new();
        for (rule, passed) in explanation.passed_over.iter().enumerate() {
            for (index, mismatch) in passed.mismatches.iter().enumerate() {
                let name = if index == 0 { passed.route } else { "" };
                lines.push(format!(
                    "{name:16} no    {}, but {} ({})",
                    mismatch.wanted,
                    seen(mismatch),
                    document.place(rule, &mismatch.at)
                ));
            }
        }
        let expected = match &trial.expected {
            Some(expected) if trial.is_unexpected() => format!("; EXPECTED {expected}"),
            _ => String::new(),
        };
        lines.push(format!(
            "{:16} TAKES {}{expected}",
            trial.route,
            trial.consequence()
        ));
        for (name, value) in &trial.properties {
            lines.push(format!("{:22} property {name}: {value:?}", ""));
        }
        for (name, why) in &trial.left_out {
            lines.push(format!(
                "{:22} property {name} is left out: its value is {why}",
                ""
            ));
        }
        Self {
            head: format!("{} from {}", trial.id, trial.topic),
            lines,
        }
    }

    pub(super) fn under(&self, place: &str) -> String {
        let mut text = format!("{place}: {}\n", self.head);
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// A `not` says by itself what is there.
fn seen(mismatch: &Mismatch) -> String {
    if mismatch.wanted.starts_with("not (") {
        mismatch.seen.clone()
    } else {
        format!("it is {}", mismatch.seen)
    }
}

/// Something that is no event, or cannot be routed.
pub(super) fn failure(place: &str, error: &str, json: bool) -> String {
    if json {
        format!("{}\n", json!({ "event": place, "error": error }))
    } else {
        format!("{place}: ERROR {error}\n")
    }
}

/// How many events took which route, in the order of the rules.
pub(super) fn summary(routes: &Routes, taken: &BTreeMap<String, u64>, failures: u64) -> String {
    let counts = routes.all().filter_map(|route| {
        let count = taken.get(&*route.name)?;
        let dropped = if route.treatment == Treatment::Drop {
            " dropped"
        } else {
            ""
        };
        Some(format!("{} {count}{dropped}", route.name))
    });
    let counts: Vec<String> = counts.collect();
    let total: u64 = taken.values().sum();
    let events = if total == 1 { "event" } else { "events" };
    let mut text = format!("{total} {events}");
    if !counts.is_empty() {
        let _ = write!(text, ": {}", counts.join(", "));
    }
    if failures > 0 {
        let _ = write!(text, "; {failures} not as expected");
    }
    text
}
