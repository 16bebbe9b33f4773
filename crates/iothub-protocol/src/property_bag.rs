//! The property bag: properties of a message, percent-encoded into its topic as `key=value&key=value`.

use std::fmt;

use crate::percent;

/// Keys of system properties. Sources: azure-iot-sdk-c iothubtransport_mqtt_common.c, azure-iot-sdk-csharp MqttIotHubAdapter.cs; the first
/// five observed with both SDKs.
pub mod key {
    pub const MESSAGE_ID: &str = "$.mid";
    pub const CORRELATION_ID: &str = "$.cid";
    pub const CONTENT_TYPE: &str = "$.ct";
    pub const CONTENT_ENCODING: &str = "$.ce";
    pub const COMPONENT: &str = "$.sub";
    pub const USER_ID: &str = "$.uid";
    pub const CREATION_TIME: &str = "$.ctime";
    pub const OUTPUT: &str = "$.on";
    pub const EXPIRY: &str = "$.exp";
    pub const TO: &str = "$.to";
    pub const CONNECTION_DEVICE: &str = "$.cdid";
    pub const CONNECTION_MODULE: &str = "$.cmid";
    /// The documented way to stamp the creation time: an application property (device guide, message format).
    pub const CREATION_TIME_UTC: &str = "iothub-creation-time-utc";
}

/// Whether a decoded key belongs to the system.
pub fn is_system(key: &str) -> bool {
    key.starts_with("$.")
}

/// The name under which IoT Hub shows a system property to a reader, for the keys of the table above; others keep their key.
pub fn system_name(key: &str) -> &str {
    match key {
        key::MESSAGE_ID => "message-id",
        key::CORRELATION_ID => "correlation-id",
        key::CONTENT_TYPE => "content-type",
        key::CONTENT_ENCODING => "content-encoding",
        key::COMPONENT => "dt-subject",
        key::USER_ID => "user-id",
        key::CREATION_TIME => "creation-time",
        key::OUTPUT => "output-name",
        key::EXPIRY => "absolute-expiry-time",
        key::TO => "to",
        other => other,
    }
}

/// Appends one property. `value: None` writes the key alone (null), `Some("")` writes `key=`.
pub fn append(out: &mut String, key: &str, value: Option<&str>) {
    if !out.is_empty() && !out.ends_with('/') {
        out.push('&');
    }
    percent::encode_into(key, out);
    if let Some(value) = value {
        out.push('=');
        percent::encode_into(value, out);
    }
}

/// Decoded properties in the order in which they were sent, duplicates included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyBag {
    pub entries: Vec<(String, Option<String>)>,
}

impl PropertyBag {
    /// Reads a bag; never fails. A leading `?` and one trailing `/` do not count (Node ends the bag of a module output with a slash:
    /// observed), `$.` and `%24.` are the same, a key without `=` is null, a key with `=` and nothing after it is empty.
    pub fn decode(text: &str) -> Self {
        let text = text.strip_prefix('?').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let entries = pairs.map(|pair| match pair.split_once('=') {
            Some((key, value)) => (
                percent::decode(key).into_owned(),
                Some(percent::decode(value).into_owned()),
            ),
            None => (percent::decode(pair).into_owned(), None),
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// The first value under `key`; `Some("")` also for a null.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// Adds a property at the end.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.entries.push((key.into(), Some(value.into())));
    }
}

/// The encoded bag.
impl fmt::Display for PropertyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.entries.iter().enumerate() {
            if index > 0 {
                f.write_str("&")?;
            }
            percent::write(key, f)?;
            if let Some(value) = value {
                f.write_str("=")?;
                percent::write(value, f)?;
            }
        }
        Ok(())
    }
}
