//! What can be wrong with a plan, all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::plan::{ConsumerPlan, DUPLICATE_WINDOW, Keep, Plan, StreamPlan};
use crate::units::{render_bytes, render_time};

const MAX_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 40);
const MAX_AGE: RangeInclusive<Duration> = DUPLICATE_WINDOW..=Duration::from_secs(3650 * 86_400);
const ACK_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const MAX_ACK_PENDING: RangeInclusive<u32> = 1..=65_536;
const NAME_LENGTH: usize = 64;
const TOPIC_LENGTH: usize = 128;

/// A plan could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The text is no plan.
    #[error("the plan cannot be read: {0}")]
    Unreadable(#[from] serde_yaml_ng::Error),
    /// The plan contradicts itself or a bound; every problem is listed.
    #[error("the plan is not valid: {}", list(.0))]
    Invalid(Vec<PlanProblem>),
}

impl PlanError {
    /// One line for each problem.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(_) => vec![self.to_string()],
            Self::Invalid(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One problem of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The field, such as `streams[0].topics`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

fn list(problems: &[PlanProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[derive(Default)]
struct Problems(Vec<PlanProblem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(PlanProblem {
            path: path.into(),
            message: message.into(),
        });
    }

    fn unless(
        &mut self,
        holds: bool,
        path: impl FnOnce() -> String,
        message: impl FnOnce() -> String,
    ) {
        if !holds {
            self.add(path(), message());
        }
    }
}

/// Every problem of a plan, in its order.
pub(crate) fn check(plan: &Plan) -> Vec<PlanProblem> {
    let mut problems = Problems::default();
    problems.unless(
        !plan.streams.is_empty(),
        || "streams".to_owned(),
        || "is empty; name at least one stream".to_owned(),
    );
    let mut names = BTreeSet::new();
    // topic → stream
    let mut topics = BTreeMap::new();
    for (number, stream) in plan.streams.iter().enumerate() {
        let at = format!("streams[{number}]");
        check_stream(stream, &at, &mut problems);
        if !names.insert(stream.name.as_str()) {
            problems.add(
                format!("{at}.name"),
                format!("a second stream {:?}", stream.name),
            );
        }
        for topic in &stream.topics {
            if let Some(other) = topics.insert(topic.as_str(), stream.name.as_str()) {
                problems.add(
                    format!("{at}.topics"),
                    format!(
                        "topic {topic:?} is in stream {other:?} already; a topic has one stream"
                    ),
                );
            }
        }
    }
    let mut durables = BTreeSet::new();
    for (number, consumer) in plan.consumers.iter().enumerate() {
        let at = format!("consumers[{number}]");
        check_consumer(consumer, &at, &mut problems);
        if !names.contains(consumer.stream.as_str()) {
            problems.add(
                format!("{at}.stream"),
                format!("there is no stream {:?} in the plan", consumer.stream),
            );
        } else if topics.get(consumer.topic.as_str()) != Some(&consumer.stream.as_str()) {
            let carried = topics.get(consumer.topic.as_str()).map_or_else(
                || "no stream carries it; add it to the topics of one".to_owned(),
                |stream| format!("stream {stream:?} does"),
            );
            problems.add(
                format!("{at}.topic"),
                format!(
                    "stream {:?} does not carry topic {:?}: {carried}",
                    consumer.stream, consumer.topic
                ),
            );
        }
        if !durables.insert((consumer.stream.as_str(), consumer.durable.as_str())) {
            problems.add(
                format!("{at}.durable"),
                format!(
                    "a second consumer {:?} of stream {:?}; each subscription has one of its own",
                    consumer.durable, consumer.stream
                ),
            );
        }
    }
    problems.0
}

fn check_stream(stream: &StreamPlan, at: &str, problems: &mut Problems) {
    problems.unless(
        is_name(&stream.name),
        || format!("{at}.name"),
        || name_words(&stream.name),
    );
    problems.unless(
        !stream.topics.is_empty(),
        || format!("{at}.topics"),
        || "is empty; name at least one topic".to_owned(),
    );
    for topic in &stream.topics {
        problems.unless(
            is_topic(topic),
            || format!("{at}.topics"),
            || topic_words(topic),
        );
    }
    if let Keep::Limits { max_age } = stream.keep {
        within(
            problems,
            &MAX_AGE,
            max_age,
            || format!("{at}.keep.limits.max_age"),
            |age| render_time(*age),
        );
    }
    within(
        problems,
        &MAX_BYTES,
        stream.max_bytes,
        || format!("{at}.max_bytes"),
        |bytes| render_bytes(*bytes),
    );
    problems.unless(
        matches!(stream.replicas, 1 | 3 | 5),
        || format!("{at}.replicas"),
        || {
            format!(
                "is {}; it must be 1, 3 or 5, as many as there are servers or fewer",
                stream.replicas
            )
        },
    );
}

fn check_consumer(consumer: &ConsumerPlan, at: &str, problems: &mut Problems) {
    problems.unless(
        is_name(&consumer.durable),
        || format!("{at}.durable"),
        || name_words(&consumer.durable),
    );
    within(
        problems,
        &ACK_WAIT,
        consumer.ack_wait,
        || format!("{at}.ack_wait"),
        |time| render_time(*time),
    );
    within(
        problems,
        &MAX_ACK_PENDING,
        consumer.max_ack_pending,
        || format!("{at}.max_ack_pending"),
        u32::to_string,
    );
}

fn within<T: PartialOrd>(
    problems: &mut Problems,
    range: &RangeInclusive<T>,
    value: T,
    path: impl FnOnce() -> String,
    words: impl Fn(&T) -> String,
) {
    problems.unless(range.contains(&value), path, || {
        format!(
            "is {}; it must be {} to {}",
            words(&value),
            words(range.start()),
            words(range.end())
        )
    });
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH).contains(&name.len())
        && name
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_'))
}

fn name_words(name: &str) -> String {
    format!("{name:?} is not 1 to {NAME_LENGTH} letters, digits, - and _")
}

/// A subject of the broker that means one topic, and none of the broker's own.
fn is_topic(topic: &str) -> bool {
    topic.len() <= TOPIC_LENGTH
        && !topic.starts_with('_')
        && topic.split('.').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_'))
        })
}

fn topic_words(topic: &str) -> String {
    format!(
        "{topic:?} is not a topic: letters, digits, -, _ and single dots between them, at most {TOPIC_LENGTH}, no wildcards, \
         no leading _"
    )
}

#[cfg(test)]
mod tests {
    use crate::plan::StreamLimits;

    use super::*;

    fn problems(change: impl FnOnce(&mut Plan)) -> Vec<String> {
        let mut plan = Plan::standard(
            &StreamLimits::default(),
            &[("iothub-module", "telemetry"), ("iothub-module", "status")],
            1,
        );
        change(&mut plan);
        match plan.check() {
            Ok(()) => Vec::new(),
            Err(error) => error.lines(),
        }
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_place() {
        let found = problems(|plan| {
            plan.streams[0].name = "with space".to_owned();
            plan.streams[0].max_bytes = 10;
            plan.streams[1].topics = vec![
                "commands".to_owned(),
                "a.*".to_owned(),
                "telemetry".to_owned(),
            ];
            plan.streams[1].keep = Keep::Limits {
                max_age: Duration::from_secs(1),
            };
            plan.streams[1].replicas = 2;
            plan.consumers[1].ack_wait = Duration::ZERO;
            plan.consumers[1].max_ack_pending = 0;
        });
        for words in [
            "streams[0].name: \"with space\"",
            "streams[0].max_bytes: is 10B; it must be 1MiB to 1024GiB",
            "streams[1].topics: \"a.*\" is not a topic",
            "streams[1].topics: topic \"telemetry\" is in stream \"with space\" already",
            "streams[1].keep.limits.max_age: is 1s; it must be 2m to 3650d",
            "streams[1].replicas: is 2",
            "consumers[0].stream: there is no stream \"fieldgate\"",
            "consumers[1].ack_wait: is 0ms; it must be 1s to 10m",
            "consumers[1].max_ack_pending: is 0; it must be 1 to 65536",
        ] {
            assert!(
                found.iter().any(|line| line.starts_with(words)),
                "{words}: {found:#?}"
            );
        }
    }

    #[test]
    fn a_subscription_needs_a_stream_and_a_name_of_its_own() {
        let found = problems(|plan| {
            plan.consumers[0].topic = "pressure".to_owned();
            plan.consumers[1].topic = "config".to_owned();
            plan.consumers.push(plan.consumers[0].clone());
        });
        assert!(found[0].contains("no stream carries it"), "{found:#?}");
        assert!(
            found[1].contains("stream \"fieldgate-kept\" does"),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|line| line.contains("a second consumer")),
            "{found:#?}"
        );
    }

    #[test]
    fn topics_cannot_reach_the_brokers_own_subjects() {
        for bad in [
            "",
            "$JS.API.INFO",
            "_INBOX.x",
            "a..b",
            ".a",
            "a.",
            ">",
            "a b",
        ] {
            assert!(!is_topic(bad), "{bad}");
        }
        for good in ["telemetry", "hall-4.pressure", "A_1"] {
            assert!(is_topic(good), "{good}");
        }
        assert!(!problems(|plan| plan.streams.clear()).is_empty());
    }
}
