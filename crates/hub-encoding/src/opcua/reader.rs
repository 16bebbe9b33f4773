//! Reads NetworkMessages as this crate writes them, and those of others as far as they have the same members and single values.

use serde::Deserialize;
use serde_json::Value;

use super::{StatusCode, ua_type};
use crate::decode::DecodeError;
use crate::{EVENT_BYTES, EVENT_COST};

/// A DataSetMessage: what one event became.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSet {
    /// `PublisherId`: the event's `source` without its last part.
    pub publisher: String,
    /// `WriterGroupName`: the last part of `source`, the module.
    pub writer_group: String,
    /// `DataSetWriterName`: `{device}/{group}`.
    pub writer: String,
    /// `DataSetWriterId`.
    pub writer_id: u16,
    /// `SequenceNumber`: the lower 32 bits of the event's.
    pub sequence: u32,
    /// `MetaDataVersion.MajorVersion`: another one means other fields.
    pub version: u32,
    /// `Timestamp`: the event's `time`.
    pub timestamp: String,
    /// `Payload`, in the order of the message.
    pub fields: Vec<(String, Field)>,
}

/// A field: a value, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The value, integers as numbers.
    pub value: Option<Value>,
    /// None if it is good.
    pub status: Option<StatusCode>,
    /// The source's own time.
    pub source_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkMessage {
    #[serde(default)]
    publisher_id: String,
    messages: Vec<DataSetMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataSetMessage {
    #[serde(default)]
    data_set_writer_id: u16,
    #[serde(default)]
    data_set_writer_name: String,
    #[serde(default)]
    writer_group_name: String,
    #[serde(default)]
    sequence_number: u32,
    #[serde(default)]
    meta_data_version: Version,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    payload: Payload,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    major_version: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataValue {
    #[serde(default)]
    ua_type: u8,
    #[serde(default, deserialize_with = "scalar")]
    value: Option<Value>,
    status: Option<Status>,
    source_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    code: u32,
    symbol: Option<String>,
}

/// A number, true, false, a text or null. No others are written, and trees of them take many times the memory of their text.
fn scalar<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    struct Scalar;
    impl serde::de::Visitor<'_> for Scalar {
        type Value = Option<Value>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a number, true, false or a text")
        }
        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }
        fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }
        fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }
        fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }
        fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Scalar)
}

/// Fields in their order.
#[derive(Default)]
struct Payload(Vec<(String, DataValue)>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Payload;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("fields by name")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Payload, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Payload(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The DataSetMessages of a NetworkMessage.
pub(crate) fn read(text: &[u8]) -> Result<Vec<DataSet>, DecodeError> {
    let message: NetworkMessage = serde_json::from_slice(text)?;
    let repeated = message.publisher_id.len() + EVENT_COST;
    if message.messages.len().saturating_mul(repeated) > EVENT_BYTES {
        return Err(DecodeError::TooManyEvents);
    }
    let publisher = message.publisher_id;
    Ok(message
        .messages
        .into_iter()
        .map(|message| data_set(&publisher, message))
        .collect())
}

fn data_set(publisher: &str, message: DataSetMessage) -> DataSet {
    DataSet {
        publisher: publisher.to_owned(),
        writer_group: message.writer_group_name,
        writer: message.data_set_writer_name,
        writer_id: message.data_set_writer_id,
        sequence: message.sequence_number,
        version: message.meta_data_version.major_version,
        timestamp: message.timestamp,
        fields: message
            .payload
            .0
            .into_iter()
            .map(|(name, value)| (name, field(value)))
            .collect(),
    }
}

fn field(value: DataValue) -> Field {
    let number = |text: &Value| {
        let text = text.as_str()?;
        match value.ua_type {
            ua_type::INT64 => text.parse::<i64>().ok().map(Value::from),
            ua_type::UINT64 => text.parse::<u64>().ok().map(Value::from),
            _ => None,
        }
    };
    Field {
        value: value.value.as_ref().and_then(number).or(value.value),
        status: value.status.map(|status| StatusCode {
            code: status.code,
            symbol: status.symbol,
        }),
        source_timestamp: value.source_timestamp,
    }
}
