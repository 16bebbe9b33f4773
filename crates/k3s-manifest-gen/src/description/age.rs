//! Durations of days: `7d`, beside those of every configuration document.

use module_runtime::configuration::Duration;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

const WORDS: &str = "a duration: a whole number and s, m, h or d, such as \"12h\" or \"7d\"";

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = match text.strip_suffix('d') {
        Some(days) => days
            .parse()
            .ok()
            .and_then(|days: u32| u64::from(days).checked_mul(86_400))
            .map(Duration::from_secs),
        None => text.parse().ok(),
    };
    found.ok_or_else(|| de::Error::custom(format!("{text:?} is not {WORDS}")))
}

pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]{1,7}(ms|s|m|h|d)$",
        "description": format!("How long those are kept, 1m to 366d. Written as {WORDS}"),
        "examples": ["12h", "7d"],
        "x-expected": WORDS,
    })
}
