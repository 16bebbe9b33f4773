//! The program's document.

use module_runtime::{ModuleConfiguration, Problems, path};
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest list of streams and of tags.
const STREAMS: std::ops::RangeInclusive<u32> = 1..=10_000;
const TAGS: std::ops::RangeInclusive<u32> = 1..=1000;
/// More than any part of the system takes.
const FASTEST: u32 = 100_000;

/// What is made, and how fast. `rate` and `limit` take effect at once, the rest at a start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Events per second, of all streams together, 0 to 100000.
    pub rate: u32,
    /// No more than so many events since the start; without it there is no end.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Streams, each a device with a key of its own, 1 to 10000. They take turns.
    #[serde(default = "streams")]
    pub streams: u32,
    /// Tags of each event, 1 to 1000.
    #[serde(default = "tags")]
    pub tags: u32,
    /// Where to.
    #[serde(default = "topic")]
    pub topic: String,
}

fn streams() -> u32 {
    200
}

fn tags() -> u32 {
    4
}

fn topic() -> String {
    "telemetry".to_owned()
}

impl Configuration {
    /// Whether the generator has to start anew for `new`.
    pub(crate) fn restart_needed_for(&self, new: &Self) -> bool {
        (self.streams, self.tags, &self.topic) != (new.streams, new.tags, &new.topic)
    }
}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        problems.check_range(path!["rate"], &self.rate, 0..=FASTEST);
        problems.check_range(path!["streams"], &self.streams, STREAMS);
        problems.check_range(path!["tags"], &self.tags, TAGS);
        if self.topic.is_empty() {
            problems.add(path!["topic"], "is empty; name the topic to publish to");
        }
    }
}

#[cfg(test)]
mod tests {
    use module_runtime::load_str;

    use super::*;

    #[test]
    fn a_rate_is_enough() {
        let loaded = load_str::<Configuration>("a.yaml", "rate: 2000\n").unwrap();
        assert_eq!(loaded.configuration.streams, 200);
        assert_eq!(loaded.configuration.limit, None);
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "rate: 100001\nstreams: 0\ntags: 1001\ntopic: ''\nmore: 1\n";
        let told = load_str::<Configuration>("a.yaml", text)
            .unwrap_err()
            .to_string();
        for line in 1..=5 {
            assert!(told.contains(&format!("a.yaml:{line}:")), "{line}: {told}");
        }
    }
}
