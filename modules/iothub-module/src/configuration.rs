//! The module's configuration document.

mod check;
mod hub;
mod sending;

use std::path::PathBuf;

use module_runtime::configuration::{ByteSize, Duration};
use module_runtime::{ModuleConfiguration, Problems};
use routes::RouteConfiguration;
use schemars::JsonSchema;
use serde::Deserialize;

pub use hub::{HubConfiguration, HubCredentials, SecretReference};
pub use sending::{
    BacklogConfiguration, BudgetConfiguration, FairnessConfiguration, IdentityConfiguration,
    SendingConfiguration, WatchdogConfiguration, WhenUsedUp, WindowConfiguration,
};

/// Delivers what modules publish to Azure IoT Hub and brings commands back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The hub and the identity on it.
    pub hub: HubConfiguration,
    /// The durable queue between the broker and the hub.
    pub queue: QueueConfiguration,
    /// What is taken from the broker.
    pub subscriptions: Vec<SubscriptionConfiguration>,
    /// Rules that decide how events travel, or that they do not. They are tried in their order, and the first one that fits takes the event.
    #[serde(default)]
    pub routes: Vec<RouteConfiguration>,
    /// Direct methods from the cloud.
    #[serde(default)]
    pub commands: CommandsConfiguration,
    /// Where changes of the desired properties are published.
    #[serde(default = "defaults::config_topic")]
    pub config_topic: String,
    /// Where cloud-to-device messages are published.
    #[serde(default = "defaults::commands_topic")]
    pub commands_topic: String,
    /// Where events that can never be sent are published, with the reason.
    #[serde(default = "defaults::dead_letter_topic")]
    pub dead_letter_topic: String,
    /// How events are taken in.
    #[serde(default)]
    pub intake: IntakeConfiguration,
    /// How events are sent.
    #[serde(default)]
    pub sending: SendingConfiguration,
    /// How reported properties are sent.
    #[serde(default)]
    pub twin: TwinConfiguration,
}

/// The durable queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueConfiguration {
    /// The queue's file; its folder must exist and be writable.
    pub path: PathBuf,
    /// Bytes on disk at most, 4MiB to 64GiB.
    #[serde(default = "defaults::max_bytes")]
    pub max_bytes: ByteSize,
    /// What happens to an event that does not fit.
    #[serde(default)]
    pub when_full: WhenFull,
}

/// What happens to an event that does not fit into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest events make room.
    #[default]
    DropOldest,
    /// The new event is dropped.
    DropNewest,
    /// The new event stays with the broker until there is room.
    Reject,
}

impl From<WhenFull> for store_forward::WhenFull {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::DropOldest => Self::DropOldest,
            WhenFull::DropNewest => Self::DropNewest,
            WhenFull::Reject => Self::Reject,
        }
    }
}

/// One topic of one pub/sub component.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionConfiguration {
    /// The Dapr pub/sub component; for JetStream each subscribed topic needs a component of its own.
    pub pubsub: String,
    /// The topic.
    pub topic: String,
    /// Where its events go; without it, the topic `status` goes to the reported properties and every other one to the queue.
    #[serde(default)]
    pub to: Option<Destination>,
}

/// Where the events of a subscription go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// Through the durable queue to the hub, as device-to-cloud messages.
    Queue,
    /// Into the twin's reported properties; not queued, the newest counts.
    Reported,
}

impl SubscriptionConfiguration {
    /// Where the events go.
    #[must_use]
    pub fn destination(&self) -> Destination {
        match self.to {
            Some(destination) => destination,
            None if self.topic == "status" => Destination::Reported,
            None => Destination::Queue,
        }
    }
}

/// Direct methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandsConfiguration {
    /// The methods the cloud may call; every other one is answered with 403.
    #[serde(default)]
    pub allow: Vec<AllowedMethod>,
}

/// One method the cloud may call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedMethod {
    /// `{app}.{method}`: method `method` of the Dapr application `app`.
    pub method: String,
    /// How long the application may take, 100ms to 5m. IoT Hub does not tell the device how long the caller waits (default there: 30s).
    #[serde(default = "defaults::deadline")]
    pub deadline: Duration,
}

/// How events are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntakeConfiguration {
    /// How long an early event waits for those before it in its stream, 0ms to 1m: longer than the broker takes to deliver again what a sidecar or
    /// module that was killed had not answered.
    #[serde(default = "defaults::reorder_wait")]
    pub reorder_wait: Duration,
    /// How long a stream waits for an event that was given back to the broker, 0ms to 5m: longer than the broker's redelivery time.
    #[serde(default = "defaults::redelivery_wait")]
    pub redelivery_wait: Duration,
    /// Events per subscription that are taken in and not yet durable, 8 to 10000. Two thirds of it may wait for those before them.
    #[serde(default = "defaults::max_in_flight")]
    pub max_in_flight: usize,
}

impl Default for IntakeConfiguration {
    fn default() -> Self {
        Self {
            reorder_wait: defaults::reorder_wait(),
            redelivery_wait: defaults::redelivery_wait(),
            max_in_flight: defaults::max_in_flight(),
        }
    }
}

/// How reported properties are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TwinConfiguration {
    /// Shortest time between two updates of the reported properties, 1s to 1h.
    #[serde(default = "defaults::report_interval")]
    pub report_interval: Duration,
}

impl Default for TwinConfiguration {
    fn default() -> Self {
        Self {
            report_interval: defaults::report_interval(),
        }
    }
}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        check::check(self, problems);
    }
}

impl Configuration {
    /// The parts that changed from `self` to `new` and need a restart, by their top-level key.
    #[must_use]
    pub fn restart_needed_for(&self, new: &Self) -> Vec<&'static str> {
        let intake = |configuration: &Self| configuration.intake.max_in_flight;
        let identities = |configuration: &Self| -> Vec<(String, String)> {
            let routes = configuration.routes.iter();
            let named =
                routes.filter_map(|route| Some((route.name.clone(), route.identity.clone()?)));
            named.collect()
        };
        let changed = [
            ("hub", self.hub != new.hub),
            ("queue", self.queue != new.queue),
            ("subscriptions", self.subscriptions != new.subscriptions),
            ("config_topic", self.config_topic != new.config_topic),
            ("commands_topic", self.commands_topic != new.commands_topic),
            (
                "dead_letter_topic",
                self.dead_letter_topic != new.dead_letter_topic,
            ),
            ("intake.max_in_flight", intake(self) != intake(new)),
            ("sending", self.sending != new.sending),
            ("routes[].identity", identities(self) != identities(new)),
        ];
        changed
            .into_iter()
            .filter_map(|(key, changed)| changed.then_some(key))
            .collect()
    }
}

pub(crate) mod defaults {
    use module_runtime::configuration::{ByteSize, Duration};

    pub(crate) fn config_topic() -> String {
        "config".to_owned()
    }
    pub(crate) fn commands_topic() -> String {
        "commands".to_owned()
    }
    pub(crate) fn dead_letter_topic() -> String {
        "deadletter".to_owned()
    }
    pub(crate) const fn max_bytes() -> ByteSize {
        ByteSize::from_mib(256)
    }
    pub(crate) const fn deadline() -> Duration {
        Duration::from_secs(30)
    }
    /// Twice `ackWait`.
    pub(crate) const fn reorder_wait() -> Duration {
        Duration::from_secs(10)
    }
    pub(crate) const fn redelivery_wait() -> Duration {
        Duration::from_secs(10)
    }
    /// What waits of it has room for all that JetStream hands out at a time (`maxAckPending`).
    pub(crate) const fn max_in_flight() -> usize {
        1500
    }
    pub(crate) const fn report_interval() -> Duration {
        Duration::from_secs(5)
    }
    pub(crate) const fn port() -> u16 {
        8883
    }
    pub(crate) const fn keep_alive() -> Duration {
        Duration::from_secs(60)
    }
    pub(crate) const fn sas_lifetime() -> Duration {
        Duration::from_secs(3600)
    }
    pub(crate) const fn window() -> u16 {
        64
    }
}
