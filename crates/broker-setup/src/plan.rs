//! The plan: the streams with their topics and bounds, and the consumer of every subscription.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan_problem::{PlanError, check};
use crate::units;

/// The stream of what is published for known subscribers: an event is kept until each of them has acknowledged it, and
/// a full stream refuses new ones.
pub const EVENTS_STREAM: &str = "fieldgate";
/// The stream of what nobody may subscribe to yet: kept for a time, and the oldest goes when it is full.
pub const KEPT_STREAM: &str = "fieldgate-kept";
/// Topics of [`EVENTS_STREAM`].
pub const EVENT_TOPICS: [&str; 3] = ["telemetry", "alarms", "status"];
/// Topics of [`KEPT_STREAM`].
pub const KEPT_TOPICS: [&str; 3] = ["commands", "config", "deadletter"];
/// For so long a stream recognises a repeated id, and stores it once.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// After this the broker delivers again what a sidecar that has vanished held; the default of the component as well.
pub const ACK_WAIT: Duration = Duration::from_secs(5);
/// Deliveries of one subscription that may wait for an answer; the default of the component as well.
pub const MAX_ACK_PENDING: u32 = 1000;

/// What the broker must hold before anything is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// At least one; no topic is in two of them.
    pub streams: Vec<StreamPlan>,
    /// One for each topic that a module subscribes to.
    #[serde(default)]
    pub consumers: Vec<ConsumerPlan>,
}

/// A stream: topics that are stored together and share one bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPlan {
    /// 1 to 64 letters, digits, `-` and `_`.
    pub name: String,
    /// Subjects without wildcards; at least one.
    pub topics: Vec<String>,
    /// How long an event stays.
    #[serde(with = "serde_yaml_ng::with::singleton_map")]
    pub keep: Keep,
    /// Bytes on disk, of each copy; 1 MiB to 1 TiB.
    #[serde(with = "units::bytes")]
    pub max_bytes: u64,
    /// Copies on different servers, 1 to 5, odd; more than one needs a cluster.
    #[serde(default = "one")]
    pub replicas: u8,
}

/// How long a stream keeps an event, and what it does when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Keep {
    /// Until every consumer has acknowledged it, not at all without one. A full stream refuses what is published.
    Interest,
    /// For a time, whoever has read it. In a full stream the oldest go first.
    Limits {
        /// 2 m (the duplicate window) to 3650 d.
        #[serde(with = "units::time")]
        max_age: Duration,
    },
}

/// A durable pull consumer: how far one module has read one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerPlan {
    /// The stream that carries the topic.
    pub stream: String,
    /// The topic it reads.
    pub topic: String,
    /// Its name, `<module>-<topic>`; also `durableName` of the Dapr component. 1 to 64 letters, digits, `-` and `_`.
    pub durable: String,
    /// As `ackWait` of the Dapr component: 1 s to 10 m.
    #[serde(with = "units::time", default = "ack_wait")]
    pub ack_wait: Duration,
    /// As `maxAckPending` of the Dapr component: 1 to 65536.
    #[serde(default = "max_ack_pending")]
    pub max_ack_pending: u32,
}

/// The bounds of the two standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Bytes of [`EVENTS_STREAM`].
    pub events: u64,
    /// Bytes of [`KEPT_STREAM`].
    pub kept: u64,
    /// Age at which [`KEPT_STREAM`] forgets.
    pub kept_for: Duration,
}

impl Default for StreamLimits {
    /// 256 MiB, 64 MiB and 7 days.
    fn default() -> Self {
        Self {
            events: 256 << 20,
            kept: 64 << 20,
            kept_for: Duration::from_secs(7 * 86_400),
        }
    }
}

impl Plan {
    /// The two streams, and a consumer for each subscription (module, topic). A topic that neither of them carries is
    /// found by [`Plan::check`].
    pub fn standard(limits: &StreamLimits, subscriptions: &[(&str, &str)], replicas: u8) -> Self {
        let stream = |name: &str, topics: [&str; 3], keep, max_bytes| StreamPlan {
            name: name.to_owned(),
            topics: topics.map(str::to_owned).to_vec(),
            keep,
            max_bytes,
            replicas,
        };
        let kept = Keep::Limits {
            max_age: limits.kept_for,
        };
        let mut plan = Self {
            streams: vec![
                stream(EVENTS_STREAM, EVENT_TOPICS, Keep::Interest, limits.events),
                stream(KEPT_STREAM, KEPT_TOPICS, kept, limits.kept),
            ],
            consumers: Vec::new(),
        };
        plan.consumers = subscriptions
            .iter()
            .map(|(module, topic)| ConsumerPlan {
                stream: plan.stream_of(topic).to_owned(),
                topic: (*topic).to_owned(),
                durable: durable_name(module, topic),
                ack_wait: ACK_WAIT,
                max_ack_pending: MAX_ACK_PENDING,
            })
            .collect();
        plan
    }

    /// Reads a plan from YAML (or JSON) and checks it.
    ///
    /// # Errors
    /// Every problem of the plan; for text that is no plan, where it stops being one.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_yaml_ng::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan as YAML.
    ///
    /// # Errors
    /// Never for a plan; serde's own error otherwise.
    pub fn to_yaml(&self) -> Result<String, PlanError> {
        Ok(serde_yaml_ng::to_string(self)?)
    }

    /// Checks the plan as a whole.
    ///
    /// # Errors
    /// Every problem with its place.
    pub fn check(&self) -> Result<(), PlanError> {
        let problems = check(self);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(PlanError::Invalid(problems))
        }
    }

    /// The stream that carries a topic; [`EVENTS_STREAM`] where none says so.
    pub fn stream_of(&self, topic: &str) -> &str {
        self.streams
            .iter()
            .find(|stream| stream.topics.iter().any(|own| own == topic))
            .map_or(EVENTS_STREAM, |stream| &stream.name)
    }

    /// The bytes that the streams may take on the disk of one server.
    pub fn max_bytes(&self) -> u64 {
        self.streams
            .iter()
            .fold(0, |sum, stream| sum.saturating_add(stream.max_bytes))
    }
}

/// The name of the durable consumer with which a module reads a topic.
pub fn durable_name(module: &str, topic: &str) -> String {
    format!("{module}-{topic}")
}

fn one() -> u8 {
    1
}

fn ack_wait() -> Duration {
    ACK_WAIT
}

fn max_ack_pending() -> u32 {
    MAX_ACK_PENDING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_plan_is_what_the_documentation_shows() {
        let plan = Plan::standard(
            &StreamLimits::default(),
            &[("iothub-module", "telemetry"), ("my-filter", "commands")],
            1,
        );
        plan.check().unwrap();
        let text = plan.to_yaml().unwrap();
        assert_eq!(
            text,
            "\
streams:
- name: fieldgate
  topics:
  - telemetry
  - alarms
  - status
  keep: interest
  max_bytes: 256MiB
  replicas: 1
- name: fieldgate-kept
  topics:
  - commands
  - config
  - deadletter
  keep:
    limits:
      max_age: 7d
  max_bytes: 64MiB
  replicas: 1
consumers:
- stream: fieldgate
  topic: telemetry
  durable: iothub-module-telemetry
  ack_wait: 5s
  max_ack_pending: 1000
- stream: fieldgate-kept
  topic: commands
  durable: my-filter-commands
  ack_wait: 5s
  max_ack_pending: 1000
"
        );
        assert_eq!(Plan::parse(&text).unwrap(), plan);
        assert_eq!(plan.max_bytes(), 320 << 20);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let text = "{streams: [{name: a, topics: [x], keep: interest, max_bytes: 1MiB}], \
                    consumers: [{stream: a, topic: x, durable: m-x}]}";
        let plan = Plan::parse(text).unwrap();
        assert_eq!(plan.streams[0].replicas, 1);
        assert_eq!(plan.consumers[0].ack_wait, ACK_WAIT);
        assert_eq!(plan.consumers[0].max_ack_pending, MAX_ACK_PENDING);
    }

    #[test]
    fn text_that_is_no_plan_is_refused_with_its_place() {
        for (text, words) in [
            ("streams: 7", "line 1"),
            ("streams: []\nkonsumers: []", "konsumers"),
            (
                "streams: [{name: a, topics: [x], keep: forever, max_bytes: 1MiB}]",
                "forever",
            ),
            (
                "streams: [{name: a, topics: [x], keep: interest, max_bytes: 1MB}]",
                "MiB",
            ),
        ] {
            let error = Plan::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
