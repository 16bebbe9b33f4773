//! The hub's state as it stands in `state.json`: identities, twins, waiting cloud-to-device messages, MQTT sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything but the device-to-cloud messages. Keys are client ids: `device` or `device/module`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) identities: BTreeMap<String, Identity>,
}

/// One device or module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Base64, as the registry shows it.
    pub(crate) primary_key: String,
    pub(crate) desired: TwinSection,
    pub(crate) reported: TwinSection,
    /// Waiting or locked, oldest first; completed and expired ones are gone.
    #[serde(default)]
    pub(crate) cloud_messages: Vec<CloudMessage>,
    /// The number of the next cloud-to-device message; never used twice.
    #[serde(default)]
    pub(crate) next_cloud_message: u64,
    /// Kept for the next connection with CleanSession=0.
    #[serde(default)]
    pub(crate) session: Option<Session>,
}

/// One half of a twin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TwinSection {
    pub(crate) properties: Value,
    pub(crate) version: u64,
}

/// A cloud-to-device message in its queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CloudMessage {
    pub(crate) sequence: u64,
    pub(crate) message_id: String,
    /// The encoded property bag, ready for the topic.
    pub(crate) bag: String,
    pub(crate) body_base64: String,
    pub(crate) enqueued_us: u64,
    pub(crate) expires_us: u64,
    /// How often it was sent since the emulator started; only shown, never relied on.
    #[serde(skip)]
    pub(crate) deliveries: u32,
}

/// An MQTT session: the filters that were granted, with their QoS, in order of subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) subscriptions: Vec<(String, u8)>,
}

impl Identity {
    /// A fresh identity; both versions of a new twin are 1.
    pub(crate) fn new(primary_key: String) -> Self {
        let empty = TwinSection {
            properties: Value::Object(serde_json::Map::new()),
            version: 1,
        };
        Self {
            primary_key,
            desired: empty.clone(),
            reported: empty,
            cloud_messages: Vec::new(),
            next_cloud_message: 1,
            session: None,
        }
    }
}
