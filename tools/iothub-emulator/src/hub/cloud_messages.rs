//! Cloud-to-device messages: a queue per device, emptied by PUBACK.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use iothub_protocol::limits::CLOUD_MESSAGES_PENDING;
use iothub_protocol::property_bag::key;
use iothub_protocol::{HubIdentity, Message};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Hub;
use super::error::HubError;
use super::identities::{entry, peek};
use crate::clock;
use crate::storage::state::CloudMessage;

/// A message as the control interface takes it: a JSON body (sent as it is written) or any bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewCloudMessage {
    /// Made up if absent.
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    body: Option<Box<RawValue>>,
    #[serde(default)]
    body_base64: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    /// 1 s to 48 h; 1 h if absent.
    #[serde(default)]
    ttl_seconds: Option<u64>,
}

/// A message as the control interface shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingCloudMessage {
    sequence: u64,
    message_id: String,
    enqueued: String,
    expires: String,
    /// Since the emulator started.
    deliveries: u32,
}

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct OutgoingCloudMessage {
    pub(crate) sequence: u64,
    pub(crate) bag: String,
    pub(crate) body: Bytes,
    /// It was sent before: the PUBLISH carries DUP.
    pub(crate) again: bool,
}

/// Default and longest time to live (iot-hub-devguide-messages-c2d).
const DEFAULT_TTL: Duration = Duration::from_secs(3_600);
const LONGEST_TTL: Duration = Duration::from_secs(48 * 3_600);

impl Hub {
    /// Queues a message for a device.
    pub(crate) fn enqueue(
        &self,
        identity: &HubIdentity,
        new: NewCloudMessage,
    ) -> Result<PendingCloudMessage, HubError> {
        if identity.module().is_some() {
            return Err(HubError::Invalid(
                "modules take no cloud-to-device messages".to_owned(),
            ));
        }
        let ttl = new.ttl_seconds.map_or(DEFAULT_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > LONGEST_TTL {
            return Err(HubError::Invalid(format!(
                "ttlSeconds: 1 to {}",
                LONGEST_TTL.as_secs()
            )));
        }
        let message = message(identity, new)?;
        let enqueued_us = clock::unix_microseconds();
        let expires_us =
            enqueued_us.saturating_add(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX));
        let device = identity.device().to_owned();
        let pending = self.store.change(|state| {
            let identity = entry(state, identity)?;
            identity
                .cloud_messages
                .retain(|message| message.expires_us > enqueued_us);
            if identity.cloud_messages.len() >= CLOUD_MESSAGES_PENDING {
                return Err(HubError::QueueFull {
                    device: device.clone(),
                    limit: CLOUD_MESSAGES_PENDING,
                });
            }
            let queued = CloudMessage {
                sequence: identity.next_cloud_message,
                message_id: message.id.clone().unwrap_or_default(),
                bag: message.bag(),
                body_base64: STANDARD.encode(&message.body),
                enqueued_us,
                expires_us,
                deliveries: 0,
            };
            identity.next_cloud_message += 1;
            let pending = shown(&queued);
            identity.cloud_messages.push(queued);
            Ok(pending)
        })?;
        if let Some(link) = self.connections.get(identity) {
            link.wake_for_cloud_messages();
        }
        Ok(pending)
    }

    /// What is not completed and not expired, oldest first.
    pub(crate) fn pending(
        &self,
        identity: &HubIdentity,
    ) -> Result<Vec<PendingCloudMessage>, HubError> {
        let now = clock::unix_microseconds();
        self.store.read(|state| {
            let messages = &peek(state, identity)?.cloud_messages;
            Ok(messages
                .iter()
                .filter(|message| message.expires_us > now)
                .map(shown)
                .collect())
        })
    }

    /// Takes the messages that are to be sent now: all but the expired and those that `is_locked` knows.
    pub(crate) fn take_for_delivery(
        &self,
        identity: &HubIdentity,
        is_locked: impl Fn(u64) -> bool,
    ) -> Vec<OutgoingCloudMessage> {
        let now = clock::unix_microseconds();
        let mut taken = Vec::new();
        self.store.note(|state| {
            let Ok(identity) = entry(state, identity) else {
                return;
            };
            let waiting = identity
                .cloud_messages
                .iter_mut()
                .filter(|message| message.expires_us > now && !is_locked(message.sequence));
            for message in waiting {
                taken.push(OutgoingCloudMessage {
                    sequence: message.sequence,
                    bag: message.bag.clone(),
                    // Written by `enqueue`; nothing else makes them.
                    body: STANDARD
                        .decode(&message.body_base64)
                        .unwrap_or_default()
                        .into(),
                    again: message.deliveries > 0,
                });
                message.deliveries = message.deliveries.saturating_add(1);
            }
        });
        taken
    }

    /// The device has acknowledged a message: it is gone for good.
    pub(crate) fn complete(&self, identity: &HubIdentity, sequence: u64) -> Result<(), HubError> {
        self.store.change(|state| {
            entry(state, identity)?
                .cloud_messages
                .retain(|message| message.sequence != sequence);
            Ok(())
        })
    }
}

fn message(identity: &HubIdentity, new: NewCloudMessage) -> Result<Message, HubError> {
    let mut message = match (new.body, new.body_base64) {
        (Some(_), Some(_)) => {
            return Err(HubError::Invalid(
                "give body or bodyBase64, not both".to_owned(),
            ));
        }
        (Some(json), None) => Message::json(Bytes::from(Box::<str>::from(json).into_string())),
        (None, Some(text)) => Message::new(
            STANDARD
                .decode(text)
                .map_err(|error| HubError::Invalid(format!("bodyBase64: {error}")))?,
        ),
        (None, None) => Message::new(Bytes::new()),
    };
    message.id = Some(
        new.message_id
            .unwrap_or_else(|| format!("{:032x}", rand::random::<u128>())),
    );
    message.correlation_id = new.correlation_id;
    message.system = vec![(
        key::TO.to_owned(),
        format!("/devices/{}/messages/devicebound", identity.device()),
    )];
    message.properties = new.properties.into_iter().collect();
    message
        .check_cloud_to_device()
        .map_err(|error| match error {
            iothub_protocol::MessageError::TooLarge { .. } => HubError::TooLarge(error.to_string()),
            error => HubError::Invalid(error.to_string()),
        })?;
    Ok(message)
}

fn shown(message: &CloudMessage) -> PendingCloudMessage {
    PendingCloudMessage {
        sequence: message.sequence,
        message_id: message.message_id.clone(),
        enqueued: clock::rfc3339(message.enqueued_us),
        expires: clock::rfc3339(message.expires_us),
        deliveries: message.deliveries,
    }
}
