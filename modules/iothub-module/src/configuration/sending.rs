//! How events are sent: how many at a time, in which order, how many bytes, by which identities.

use std::path::PathBuf;

use module_runtime::configuration::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Configuration, HubConfiguration, SecretReference};
use crate::pace::{BudgetOptions, Priority, ScheduleOptions, WatchdogBounds, WindowBounds};

/// How events are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendingConfiguration {
    /// How many messages wait for the hub's confirmation at a time; it follows the line between these bounds.
    #[serde(default)]
    pub window: WindowConfiguration,
    /// When a missing confirmation means that the link is dead.
    #[serde(default)]
    pub watchdog: WatchdogConfiguration,
    /// What was stored before the connection was made.
    #[serde(default)]
    pub backlog: BacklogConfiguration,
    /// Between priorities.
    #[serde(default)]
    pub fairness: FairnessConfiguration,
    /// Bytes for a line that is paid by volume; without it there is no bound.
    #[serde(default)]
    pub budget: Option<BudgetConfiguration>,
    /// More identities on the same hub beside the one in `hub`; the partition key decides which one an event goes by.
    #[serde(default)]
    pub identities: Vec<IdentityConfiguration>,
}

/// Bounds of the window.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfiguration {
    /// Never fewer messages, 1 to `max`.
    #[serde(default = "defaults::window_min")]
    pub min: u16,
    /// Never more messages, `min` to `hub.window`; without it `hub.window`.
    #[serde(default)]
    pub max: Option<u16>,
}

impl Default for WindowConfiguration {
    fn default() -> Self {
        Self {
            min: defaults::window_min(),
            max: None,
        }
    }
}

/// Bounds of the watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchdogConfiguration {
    /// No link is called dead sooner, 1s to 60s.
    #[serde(default = "defaults::watchdog_floor")]
    pub floor: Duration,
    /// No confirmation is waited for longer, 5s to 5m.
    #[serde(default = "defaults::watchdog_ceiling")]
    pub ceiling: Duration,
}

impl Default for WatchdogConfiguration {
    fn default() -> Self {
        Self {
            floor: defaults::watchdog_floor(),
            ceiling: defaults::watchdog_ceiling(),
        }
    }
}

/// What was stored before the connection was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BacklogConfiguration {
    /// Percent of what is sent that are backlog while live events wait, too, 0 to 100. With 0 it goes only while nothing live waits.
    #[serde(default = "defaults::backlog_share")]
    pub share: u8,
    /// Events of the backlog per second at most, 1 to 100000; without it there is no bound.
    #[serde(default)]
    pub rate: Option<u32>,
    /// While the oldest live event has waited longer than this, 50ms to 60s, the share is a tenth.
    #[serde(default = "defaults::live_wait")]
    pub live_wait: Duration,
}

impl Default for BacklogConfiguration {
    fn default() -> Self {
        Self {
            share: defaults::backlog_share(),
            rate: None,
            live_wait: defaults::live_wait(),
        }
    }
}

/// Between priorities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FairnessConfiguration {
    /// Percent of what is sent that all priorities below the highest waiting one have together, in turn, 0 to 50. With 0 the order is strict, and
    /// lower ones may wait for ever.
    #[serde(default = "defaults::lower_share")]
    pub lower_share: u8,
}

impl Default for FairnessConfiguration {
    fn default() -> Self {
        Self {
            lower_share: defaults::lower_share(),
        }
    }
}

/// Bytes for a line that is paid by volume. At least one of the two bounds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfiguration {
    /// Bytes in any 60 seconds, 4KiB to 16GiB.
    #[serde(default)]
    pub per_minute: Option<ByteSize>,
    /// Bytes in a calendar month (UTC), 1MiB to 1048576GiB.
    #[serde(default)]
    pub per_month: Option<ByteSize>,
    /// Events of this priority and above are urgent, 0 to 9; without it none are.
    #[serde(default)]
    pub urgent_from: Option<u8>,
    /// Percent of both bounds that only urgent events may use, 0 to 90.
    #[serde(default = "defaults::urgent_reserve")]
    pub urgent_reserve: u8,
    /// What goes when a bound is reached.
    #[serde(default)]
    pub when_used_up: WhenUsedUp,
}

/// What goes when a bound of the budget is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUsedUp {
    /// Nothing.
    #[default]
    Hold,
    /// Urgent events, beyond the bound.
    UrgentOnly,
}

/// One more identity. It comes from exactly one of `connection_string`, `connection_string_file`, or `device` and `key_file` together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfiguration {
    /// The connection string as a secret of a Dapr secret store.
    #[serde(default)]
    pub connection_string: Option<SecretReference>,
    /// A file that holds the connection string and nothing else.
    #[serde(default)]
    pub connection_string_file: Option<PathBuf>,
    /// The hub's name with `device` and `key_file`; without it `hub.name`.
    #[serde(default)]
    pub name: Option<String>,
    /// The device id.
    #[serde(default)]
    pub device: Option<String>,
    /// The module id, for a module identity.
    #[serde(default)]
    pub module: Option<String>,
    /// A file that holds the identity's key in Base64.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl SendingConfiguration {
    /// Bounds of the window; `client` is what the hub's client allows (`hub.window`).
    #[must_use]
    pub fn window_bounds(&self, client: u16) -> WindowBounds {
        WindowBounds {
            least: self.window.min,
            most: self.window.max.unwrap_or(client).min(client),
        }
    }

    /// Bounds of the watchdog.
    #[must_use]
    pub fn watchdog_bounds(&self) -> WatchdogBounds {
        WatchdogBounds {
            floor: self.watchdog.floor.get(),
            ceiling: self.watchdog.ceiling.get(),
        }
    }

    /// Shares of live data, backlog and priorities.
    #[must_use]
    pub fn schedule_options(&self) -> ScheduleOptions {
        ScheduleOptions {
            backlog_share: self.backlog.share,
            backlog_rate: self.backlog.rate,
            live_wait: self.backlog.live_wait.get(),
            lower_share: self.fairness.lower_share,
        }
    }

    /// Bounds of the budget; without one, none.
    #[must_use]
    pub fn budget_options(&self) -> BudgetOptions {
        let Some(budget) = &self.budget else {
            return BudgetOptions::default();
        };
        BudgetOptions {
            per_minute: budget.per_minute.map(ByteSize::get),
            per_month: budget.per_month.map(ByteSize::get),
            urgent_from: budget.urgent_from.and_then(Priority::new),
            urgent_reserve: budget.urgent_reserve,
            urgent_beyond: budget.when_used_up == WhenUsedUp::UrgentOnly,
        }
    }
}

impl HubConfiguration {
    /// The same hub by another identity.
    #[must_use]
    pub fn with_identity(&self, identity: &IdentityConfiguration) -> Self {
        let in_parts = identity.device.is_some() || identity.key_file.is_some();
        let name = match &identity.name {
            None if in_parts => self.name.clone(),
            name => name.clone(),
        };
        Self {
            connection_string: identity.connection_string.clone(),
            connection_string_file: identity.connection_string_file.clone(),
            name,
            device: identity.device.clone(),
            module: identity.module.clone(),
            key_file: identity.key_file.clone(),
            ..self.clone()
        }
    }
}

impl Configuration {
    /// The names of those identities that are given in the document: `device` or `device/module`. One that is a connection string shows its name
    /// to nobody here.
    #[must_use]
    pub fn identity_names(&self) -> Vec<String> {
        let others = self.sending.identities.iter();
        let others = others.map(|identity| self.hub.with_identity(identity));
        std::iter::once(self.hub.clone())
            .chain(others)
            .filter_map(|hub| match (hub.device, hub.module) {
                (Some(device), Some(module)) => Some(format!("{device}/{module}")),
                (device, _) => device,
            })
            .collect()
    }
}

mod defaults {
    use module_runtime::configuration::Duration;

    pub(super) const fn window_min() -> u16 {
        1
    }
    pub(super) const fn watchdog_floor() -> Duration {
        Duration::from_secs(10)
    }
    pub(super) const fn watchdog_ceiling() -> Duration {
        Duration::from_secs(30)
    }
    pub(super) const fn backlog_share() -> u8 {
        20
    }
    pub(super) const fn live_wait() -> Duration {
        Duration::from_millis(500)
    }
    pub(super) const fn lower_share() -> u8 {
        10
    }
    pub(super) const fn urgent_reserve() -> u8 {
        10
    }
}
