//! Cloud-to-device messages become events on the commands topic; the hub is told "complete" only when the broker has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use measurement::{COMMAND_TYPE, Event, GenericEvent};
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::CLOUD_MESSAGES;
use crate::publisher::Publisher;

/// Wait after a failed publish.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// A message as it came, and how to complete it.
pub struct CloudMessage {
    /// The sender's message id.
    pub message_id: Option<String>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Tells the hub that the message was handed on; dropping it lets the hub deliver the message again.
    pub complete: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for CloudMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudMessage")
            .field("message_id", &self.message_id)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Data<'a> {
    message_id: Option<&'a str>,
    properties: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// The event of a message. With a message id its own id is always the same, so that the broker drops what the hub delivers twice; without
/// one each delivery counts as new, because nothing tells two equal commands from one delivered twice.
///
/// # Errors
/// Never for what a hub delivers; kept because JSON rendering can fail in general.
pub fn event(publisher: &Publisher, message: &CloudMessage) -> Result<Event, serde_json::Error> {
    let json = serde_json::from_slice::<&RawValue>(&message.body).ok();
    let data = Data {
        message_id: message.message_id.as_deref(),
        properties: message
            .properties
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        body: json,
        body_base64: json.is_none().then(|| STANDARD.encode(&message.body)),
    };
    GenericEvent {
        id: message
            .message_id
            .as_ref()
            .map(|id| format!("{}/command/{id}", publisher.module())),
        source: publisher.source(),
        kind: COMMAND_TYPE,
        subject: message.message_id.as_deref(),
        partition_key: None,
        time: OffsetDateTime::now_utc(),
    }
    .render(&data)
}

/// Publishes one message after the other, in order, each for as long as it takes.
pub async fn run(
    mut messages: mpsc::Receiver<CloudMessage>,
    publisher: Arc<Publisher>,
    topic: String,
    shutdown: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return,
            message = messages.recv() => match message {
                Some(message) => message,
                None => return,
            },
        };
        let event = match event(&publisher, &message) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, message_id = message.message_id, "a cloud-to-device message cannot be an event; it stays on the hub until it expires");
                continue;
            }
        };
        let mut wait = WAIT.0;
        while let Err(error) = publisher.publish(&topic, event.clone()).await {
            tracing::warn!(%error, message_id = message.message_id, topic, "a cloud-to-device message could not be published; trying again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(WAIT.1),
            }
        }
        (message.complete)();
        metrics::counter!(CLOUD_MESSAGES.name).increment(1);
    }
}

#[cfg(test)]
mod tests;
