//! Reads a message in any encoding.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::opcua::{self, DataSet};
use crate::{EVENT_BYTES, EVENT_COST, TEXT_BYTES, compact, gzip};

/// What a hub message carried.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// CloudEvents in JSON, in the order in which they were put in.
    Events(Vec<String>),
    /// DataSetMessages of an OPC UA NetworkMessage.
    DataSets(Vec<DataSet>),
}

/// Why a message cannot be read. Reading it again does not help.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The gzip data end early or do not match their checksum.
    #[error("the compressed message is damaged: {0}")]
    Gzip(std::io::Error),
    /// More text than [`TEXT_BYTES`].
    #[error("the message's text is larger than {TEXT_BYTES} bytes; no batch makes such a one")]
    TooLarge,
    /// The events are larger than [`EVENT_BYTES`] together.
    #[error(
        "the message's events are larger than {EVENT_BYTES} bytes together; no batch makes such a message"
    )]
    TooManyEvents,
    /// Not JSON, or JSON of another form.
    #[error("the message is not JSON of an encoding that is known: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but none of the encodings.
    #[error(
        "the message is neither an event, nor a batch of events, nor compact, nor an OPC UA NetworkMessage"
    )]
    Unknown,
    /// A later version of the compact form.
    #[error("the message is of version {0} of the compact form, this program reads up to {version}: update it", version = compact::VERSION)]
    Version(u32),
    /// A compact message that contradicts itself.
    #[error("the compact message contradicts itself: {0}")]
    Compact(String),
}

/// What tells the encodings apart.
#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow)]
    encoding: Option<&'a RawValue>,
    #[serde(borrow, rename = "MessageType")]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
}

/// The events of a hub message's body. Which encoding it is in shows in the body itself, so its properties are not needed.
///
/// # Errors
/// See [`DecodeError`]; all of them are permanent.
pub fn decode(payload: &[u8]) -> Result<Message, DecodeError> {
    if payload.starts_with(&gzip::MAGIC) {
        let text = gzip::decompress(payload, TEXT_BYTES).map_err(|failure| match failure {
            gzip::Failure::TooLarge => DecodeError::TooLarge,
            gzip::Failure::Damaged(error) => DecodeError::Gzip(error),
        })?;
        return decode_text(&text);
    }
    if payload.len() > TEXT_BYTES {
        return Err(DecodeError::TooLarge);
    }
    decode_text(payload)
}

fn decode_text(text: &[u8]) -> Result<Message, DecodeError> {
    if text.trim_ascii_start().starts_with(b"[") {
        let events: Vec<&RawValue> = serde_json::from_slice(text)?;
        let bytes: usize = events
            .iter()
            .map(|event| event.get().len() + EVENT_COST)
            .sum();
        if bytes > EVENT_BYTES {
            return Err(DecodeError::TooManyEvents);
        }
        if events.iter().any(|event| !event.get().starts_with('{')) {
            return Err(DecodeError::Unknown);
        }
        return Ok(Message::Events(
            events
                .into_iter()
                .map(|event| event.get().to_owned())
                .collect(),
        ));
    }
    let marks: Marks<'_> = serde_json::from_slice(text)?;
    let is = |mark: Option<&RawValue>, word: &str| {
        mark.and_then(|mark| mark.get().strip_prefix('"')?.strip_suffix('"')) == Some(word)
    };
    if marks.specversion.is_some() {
        let event = std::str::from_utf8(text).map_err(|_| DecodeError::Unknown)?;
        Ok(Message::Events(vec![event.to_owned()]))
    } else if is(marks.encoding, compact::NAME) {
        compact::read(text).map(Message::Events)
    } else if is(marks.message_type, opcua::MESSAGE_TYPE) {
        opcua::read(text).map(Message::DataSets)
    } else {
        Err(DecodeError::Unknown)
    }
}
