//! Publishes what can never be sent, with the reason, so that nothing disappears and nothing loops.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use measurement::{DEAD_LETTER_TYPE, GenericEvent};
use serde::Serialize;
use time::OffsetDateTime;

use crate::hash::fnv1a;
use crate::metrics::DEAD_LETTERS;
use crate::publisher::{PublishError, Publisher};

/// Bytes of the original that a dead letter carries at most.
pub const ORIGINAL_BYTES: usize = 64 * 1024;

/// Why an event can never be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not a CloudEvents JSON document.
    NotACloudEvent,
    /// Too large for a message to IoT Hub, or for the queue.
    TooLarge,
    /// IoT Hub does not take its attributes as properties.
    InvalidProperties,
    /// A status without a module's name, or that is not an object.
    InvalidStatus,
}

impl Reason {
    /// The reason as it stands in events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotACloudEvent => "not-a-cloudevent",
            Self::TooLarge => "too-large",
            Self::InvalidProperties => "invalid-properties",
            Self::InvalidStatus => "invalid-status",
        }
    }
}

/// An event that can never be sent.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub detail: String,
    /// The topic it came from.
    pub topic: String,
    /// The event as it came.
    pub original: Bytes,
}

#[derive(Serialize)]
struct Data<'a> {
    reason: &'static str,
    detail: &'a str,
    topic: &'a str,
    original_bytes: usize,
    truncated: bool,
    original_base64: String,
}

/// Where dead letters go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    publisher: Arc<Publisher>,
    topic: String,
}

impl DeadLetters {
    /// Publishes on `topic`.
    #[must_use]
    pub fn new(publisher: Arc<Publisher>, topic: String) -> Self {
        Self { publisher, topic }
    }

    /// Publishes one; the same event gives the same id, so that a repeated attempt is not a second dead letter.
    ///
    /// # Errors
    /// When the broker did not take it.
    pub async fn publish(&self, letter: &DeadLetter) -> Result<(), PublishError> {
        let shown = letter
            .original
            .get(..ORIGINAL_BYTES)
            .unwrap_or(&letter.original);
        let data = Data {
            reason: letter.reason.as_str(),
            detail: &letter.detail,
            topic: &letter.topic,
            original_bytes: letter.original.len(),
            truncated: shown.len() < letter.original.len(),
            original_base64: STANDARD.encode(shown),
        };
        let id = format!(
            "{}/deadletter/{:016x}-{}",
            self.publisher.module(),
            fnv1a(&letter.original),
            letter.original.len()
        );
        let event = GenericEvent {
            id: Some(id),
            source: self.publisher.source(),
            kind: DEAD_LETTER_TYPE,
            subject: Some(&letter.topic),
            partition_key: None,
            time: OffsetDateTime::now_utc(),
        }
        .render(&data)
        .map_err(|error| PublishError::Refused(error.to_string()))?;
        self.publisher.publish(&self.topic, event).await?;
        metrics::counter!(DEAD_LETTERS.name, "reason" => letter.reason.as_str()).increment(1);
        tracing::warn!(
            reason = letter.reason.as_str(),
            detail = letter.detail,
            topic = letter.topic,
            "dead letter"
        );
        Ok(())
    }
}
