//! The data of a measurement event as a receiver sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The `data` of a measurement event, for consumers and tests; writers use [`crate::EventTemplate`].
/// Integers keep their exact value as JSON numbers up to `i64`/`u64`, other numbers are `f64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// The device.
    pub device: String,
    /// The poll group.
    pub group: String,
    /// The run in which `sequence` counts.
    pub epoch: String,
    /// Counts up by one per device and group, from 1 in each epoch.
    pub sequence: u64,
    /// When the values were complete: RFC 3339, UTC, the module's clock.
    pub timestamp: String,
    /// Good values by tag: number, bool or string.
    pub values: BTreeMap<String, serde_json::Value>,
    /// Reasons by tag ([`crate::BadReason::as_str`]), only for tags without a good value.
    #[serde(default)]
    pub bad: BTreeMap<String, String>,
    /// Times by tag, only where a source gives its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timestamps: BTreeMap<String, String>,
}
