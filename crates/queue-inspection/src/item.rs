//! An event of the queue in a line.

use measurement::rfc3339_micros;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store_forward::StoredItem;
use time::OffsetDateTime;

/// What is said of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Its place in the queue.
    pub number: u64,
    /// When it was stored, by the machine's clock, UTC.
    pub stored: String,
    /// 0 to 9.
    pub priority: u8,
    /// By which route it came.
    pub route: String,
    /// Partition key.
    pub key: String,
    /// The event's id.
    pub id: String,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// The event as it was taken in, on one line; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
}

/// The payload of an item is not JSON, so it is no event that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item is not JSON")]
pub struct NotJson;

impl Item {
    /// Without the event.
    #[must_use]
    pub fn of(stored: &StoredItem) -> Self {
        Self {
            number: stored.sequence.0,
            stored: rfc3339_micros(OffsetDateTime::from(stored.enqueued)),
            priority: stored.priority.get(),
            route: stored.route.as_str().to_owned(),
            key: stored.key.clone(),
            id: stored.id.clone(),
            bytes: stored.size() as u64,
            event: None,
        }
    }

    /// With the event.
    ///
    /// # Errors
    /// [`NotJson`].
    pub fn with_event(stored: &StoredItem) -> Result<Self, NotJson> {
        let mut text = String::from_utf8(stored.payload.to_vec()).map_err(|_| NotJson)?;
        if text.contains(['\n', '\r']) {
            // Within a string they would be escaped.
            text = text.replace(['\n', '\r'], " ");
        }
        let event = RawValue::from_string(text).map_err(|_| NotJson)?;
        Ok(Self {
            event: Some(event),
            ..Self::of(stored)
        })
    }
}
