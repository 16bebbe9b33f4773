//! Device-to-cloud messages: from the packet to a line in the batch.

use std::borrow::Cow;

use iothub_protocol::HubIdentity;
use iothub_protocol::limits::MESSAGE_BYTES;
use iothub_protocol::property_bag::{self, PropertyBag};

use super::End;
use super::handshake::Will;
use crate::storage::record::{Batch, Record, RecordPrefix};

/// Turns the messages of one connection into records.
#[derive(Debug)]
pub(super) struct Telemetry {
    prefix: RecordPrefix,
    model_id: Option<String>,
}

/// A message as it came.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) bag: &'a str,
    pub(super) body: &'a [u8],
    pub(super) retain: bool,
    pub(super) received_us: u64,
}

impl Telemetry {
    /// `connected_us` is when the connection was accepted: with the identity it tells connections apart.
    pub(super) fn new(identity: &HubIdentity, model_id: Option<String>, connected_us: u64) -> Self {
        Self {
            prefix: RecordPrefix::new(identity.device(), identity.module(), connected_us),
            model_id,
        }
    }

    /// Adds a message to the batch.
    pub(super) fn add(&self, batch: &mut Batch, message: &Incoming<'_>) -> Result<(), End> {
        self.push(batch, message, &[])
    }

    /// Adds a will (device guide: it arrives as telemetry with `iothub-MessageType: Will`).
    pub(super) fn add_will(
        &self,
        batch: &mut Batch,
        will: &Will,
        received_us: u64,
    ) -> Result<(), End> {
        let message = Incoming {
            bag: &will.bag,
            body: &will.body,
            retain: will.retain,
            received_us,
        };
        self.push(batch, &message, &[("iothub-MessageType", "Will")])
    }

    fn push(
        &self,
        batch: &mut Batch,
        message: &Incoming<'_>,
        extra: &[(&str, &str)],
    ) -> Result<(), End> {
        let bag = PropertyBag::decode(message.bag);
        let (mut system, mut properties) = (
            Vec::with_capacity(4),
            Vec::with_capacity(bag.entries.len() + 2),
        );
        let mut size = message.body.len();
        for (key, value) in &bag.entries {
            let value = value.as_deref().unwrap_or("");
            size += value.len();
            if property_bag::is_system(key) {
                system.push((property_bag::system_name(key), value));
            } else {
                size += key.len();
                properties.push((key.as_str(), value));
            }
        }
        if size > MESSAGE_BYTES {
            return Err(End::TooLarge {
                size,
                limit: MESSAGE_BYTES,
            });
        }
        if let Some(model) = &self.model_id {
            system.push(("dt-dataschema", model));
        }
        if message.retain {
            // Device guide: retained messages are not supported; the flag becomes a property.
            properties.push(("mqtt-retain", "true"));
        }
        properties.extend_from_slice(extra);
        let record = Record {
            received_us: message.received_us,
            system: &system,
            properties: &properties,
            body: message.body,
        };
        batch
            .push(&self.prefix, &record)
            .map_err(|error| End::Storage(error.to_string()))
    }
}

/// Text for the log, not longer than a line.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(200) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
