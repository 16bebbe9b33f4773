//! The topics that modules share.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A topic (docs/reference/events.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Measurements.
    Telemetry,
    /// What must not wait.
    Alarms,
    /// The state of modules; goes to the hub's reported properties.
    Status,
    /// Cloud-to-device messages.
    Commands,
    /// Configuration changes.
    Config,
    /// What a subscriber could not process, with the reason.
    Deadletter,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Telemetry,
        Self::Alarms,
        Self::Status,
        Self::Commands,
        Self::Config,
        Self::Deadletter,
    ];

    /// The topic's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Alarms => "alarms",
            Self::Status => "status",
            Self::Commands => "commands",
            Self::Config => "config",
            Self::Deadletter => "deadletter",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
