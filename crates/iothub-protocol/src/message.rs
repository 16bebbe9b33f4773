//! A message, device-to-cloud or cloud-to-device: body, system properties and application properties.

use bytes::Bytes;

use crate::limits::{CLOUD_MESSAGE_BYTES, MESSAGE_BYTES, MESSAGE_ID_CHARS, TOPIC_BYTES};
use crate::property_bag::{self, PropertyBag, is_system, key};

/// A message. Properties travel in the topic, the body is the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// At most 128 ASCII characters; lets a reader drop repeats.
    pub id: Option<String>,
    pub correlation_id: Option<String>,
    /// `application/json` for bodies IoT Hub shall route by (with `content_encoding` `utf-8`).
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// RFC 3339, UTC, `Z`. Written as application property `iothub-creation-time-utc`, read from there or from `$.ctime`.
    pub creation_time: Option<String>,
    /// System properties without a field of their own, by key (`$.uid`, `$.to`, …).
    pub system: Vec<(String, String)>,
    /// Application properties in order. A null value is read as an empty one.
    pub properties: Vec<(String, String)>,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error(
        "message has {size} bytes of body and properties; IoT Hub takes {limit}: split it or leave out values"
    )]
    TooLarge { size: usize, limit: usize },
    #[error(
        "message id has {0} characters or is not ASCII; IoT Hub takes {MESSAGE_ID_CHARS} ASCII characters"
    )]
    Id(usize),
    #[error(
        "message properties make a topic of {0} bytes; MQTT takes {TOPIC_BYTES}: use fewer or shorter properties"
    )]
    Topic(usize),
    #[error("message property {0:?} starts with $., which is reserved for the system; rename it")]
    Reserved(String),
}

impl Message {
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// A JSON message that IoT Hub can route by its body: content type and encoding are set (device guide, message routing query).
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Self::new(body)
        }
    }

    /// Reads a message from its encoded bag and payload; never fails. Of repeated system keys the last one counts.
    pub fn from_bag(bag: &str, body: Bytes) -> Self {
        let mut message = Self::new(body);
        for (key, value) in PropertyBag::decode(bag).entries {
            let value = value.unwrap_or_default();
            match key.as_str() {
                key::MESSAGE_ID => message.id = Some(value),
                key::CORRELATION_ID => message.correlation_id = Some(value),
                key::CONTENT_TYPE => message.content_type = Some(value),
                key::CONTENT_ENCODING => message.content_encoding = Some(value),
                key::CREATION_TIME | key::CREATION_TIME_UTC => message.creation_time = Some(value),
                _ if is_system(&key) => message.system.push((key, value)),
                _ => message.properties.push((key, value)),
            }
        }
        message
    }

    /// Appends the encoded bag to a topic that ends in `/`.
    pub fn append_bag(&self, topic: &mut String) {
        for (key, value) in self.named() {
            property_bag::append(topic, key, Some(value));
        }
        for (key, value) in self.system.iter().chain(&self.properties) {
            property_bag::append(topic, key, Some(value));
        }
        if let Some(value) = &self.creation_time {
            property_bag::append(topic, key::CREATION_TIME_UTC, Some(value));
        }
    }

    /// The encoded bag.
    pub fn bag(&self) -> String {
        let mut bag = String::new();
        self.append_bag(&mut bag);
        bag
    }

    /// Every system property with the name under which IoT Hub shows it to a reader.
    pub fn system_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let other = self
            .system
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let time = self
            .creation_time
            .iter()
            .map(|value| (key::CREATION_TIME, value.as_str()));
        self.named()
            .chain(time)
            .chain(other)
            .map(|(key, value)| (property_bag::system_name(key), value))
    }

    /// Bytes that count against IoT Hub's limit: body, system property values, application property names and values (device guide, message
    /// format).
    pub fn size(&self) -> usize {
        let named: usize = self.named().map(|(_, value)| value.len()).sum();
        let system: usize = self.system.iter().map(|(_, value)| value.len()).sum();
        let properties: usize = self
            .properties
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let time = self
            .creation_time
            .as_ref()
            .map_or(0, |value| key::CREATION_TIME_UTC.len() + value.len());
        self.body.len() + named + system + properties + time
    }

    /// Whether IoT Hub takes this as a device-to-cloud message.
    pub fn check(&self) -> Result<(), MessageError> {
        self.check_against(MESSAGE_BYTES)
    }

    /// Whether IoT Hub takes this as a cloud-to-device message.
    pub fn check_cloud_to_device(&self) -> Result<(), MessageError> {
        self.check_against(CLOUD_MESSAGE_BYTES)
    }

    fn check_against(&self, limit: usize) -> Result<(), MessageError> {
        let size = self.size();
        if size > limit {
            return Err(MessageError::TooLarge { size, limit });
        }
        if let Some(id) = &self.id
            && (id.len() > MESSAGE_ID_CHARS || !id.is_ascii())
        {
            return Err(MessageError::Id(id.chars().count()));
        }
        match self.properties.iter().find(|(key, _)| is_system(key)) {
            Some((key, _)) => Err(MessageError::Reserved(key.clone())),
            None => Ok(()),
        }
    }

    fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        [
            (key::MESSAGE_ID, &self.id),
            (key::CORRELATION_ID, &self.correlation_id),
            (key::CONTENT_TYPE, &self.content_type),
            (key::CONTENT_ENCODING, &self.content_encoding),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.as_deref().map(|value| (key, value)))
    }
}
