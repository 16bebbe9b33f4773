//! The module's document.

use std::path::PathBuf;

use module_runtime::configuration::Duration;
use module_runtime::{ModuleConfiguration, Problems, path};
use schemars::JsonSchema;
use serde::Deserialize;

/// The host's socket, and where desired properties come from. Everything may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Configuration {
    /// The socket of the host's side.
    pub socket: PathBuf,
    /// How often the host is asked how it is while nothing goes on, 1m to 24h. While something does it is asked every few seconds.
    pub interval: Duration,
    /// Where changes of the desired properties come from.
    pub desired: Desired,
}

/// Where changes of the desired properties come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Desired {
    /// The Dapr component.
    pub pubsub: String,
    /// The topic, the `config_topic` of iothub-module.
    pub topic: String,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/fieldgate/agent.sock"),
            interval: Duration::from_secs(600),
            desired: Desired::default(),
        }
    }
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            // What the appliance's description makes of the module's subscription.
            pubsub: "device-agent-config".to_owned(),
            topic: "config".to_owned(),
        }
    }
}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        if !self.socket.is_absolute() {
            problems.add(
                path!["socket"],
                "must be a whole path, such as /run/fieldgate/agent.sock",
            );
        }
        problems.check_range(
            path!["interval"],
            &self.interval,
            Duration::from_secs(60)..=Duration::from_secs(24 * 3600),
        );
        for (key, value) in [
            ("pubsub", &self.desired.pubsub),
            ("topic", &self.desired.topic),
        ] {
            if value.is_empty() {
                problems.add(path!["desired", key], "is empty");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use module_runtime::load_str;

    #[test]
    fn an_empty_document_is_one() {
        let loaded = load_str::<Configuration>("a.yaml", "{}\n").unwrap();
        assert_eq!(*loaded.configuration, Configuration::default());
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "socket: agent.sock\ninterval: 5s\ndesired: {topic: ''}\nmore: 1\n";
        let error = load_str::<Configuration>("a.yaml", text).unwrap_err();
        let told = error.to_string();
        for place in ["a.yaml:1:", "a.yaml:2:", "a.yaml:3:", "a.yaml:4:"] {
            assert!(told.contains(place), "{place} in {told}");
        }
    }
}
