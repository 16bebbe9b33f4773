//! Reads the attributes of a received CloudEvent without touching its data.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::MEASUREMENTS_TYPE;

/// The attributes of a CloudEvent and its data as the exact bytes that were sent. Attributes that are not listed here
/// are ignored.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// Unique within `source`.
    pub id: Cow<'a, str>,
    /// Who sent it.
    pub source: Cow<'a, str>,
    /// The attribute `type`.
    pub kind: Cow<'a, str>,
    /// What of the source it is about; a measurement's `{device}/{group}`.
    pub subject: Option<Cow<'a, str>>,
    /// RFC 3339, not checked here.
    pub time: Option<Cow<'a, str>>,
    /// The attribute `partitionkey`.
    pub partition_key: Option<Cow<'a, str>>,
    /// The attribute `sequence`, if it is a decimal number.
    pub sequence: Option<u64>,
    /// Of a measurement: the run in which `sequence` counts.
    pub epoch: Option<Cow<'a, str>>,
    /// The attribute `datacontenttype`.
    pub data_content_type: Option<Cow<'a, str>>,
    /// The JSON data, verbatim.
    pub data: Option<&'a RawValue>,
}

/// Why a document is not a CloudEvent that can be handled. Repeating it helps nobody: dead letter.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, not an object, an attribute of the wrong type, or `id`, `source`, `type` or `specversion` missing.
    #[error("not a CloudEvents JSON document: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of CloudEvents.
    #[error("specversion {0:?} is not supported, expected \"1.0\"")]
    SpecVersion(String),
    /// A required attribute is empty (CloudEvents 1.0.2, "Required Attributes").
    #[error("the attribute {0} is empty")]
    Empty(&'static str),
    /// A measurement needs a decimal `sequence`, an epoch and data, or its loss could not be noticed.
    #[error("event {id:?} of type {MEASUREMENTS_TYPE} has no valid {attribute}")]
    Measurement {
        /// The event.
        id: String,
        /// What is missing or malformed.
        attribute: &'static str,
    },
}

/// serde borrows through a newtype, but not through `Option<Cow<str>>`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    partitionkey: Option<Text<'a>>,
    #[serde(borrow, default)]
    sequence: Option<Text<'a>>,
    #[serde(borrow, default)]
    datacontenttype: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct EpochOfData<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Parses a CloudEvent in JSON (structured mode).
    ///
    /// # Errors
    /// See [`EnvelopeError`]; all of them are permanent.
    pub fn parse(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let attributes: Attributes<'a> = serde_json::from_slice(body)?;
        if attributes.specversion != "1.0" {
            return Err(EnvelopeError::SpecVersion(
                attributes.specversion.into_owned(),
            ));
        }
        for (name, value) in [
            ("id", &attributes.id),
            ("source", &attributes.source),
            ("type", &attributes.kind),
        ] {
            if value.is_empty() {
                return Err(EnvelopeError::Empty(name));
            }
        }
        let sequence = attributes.sequence.and_then(|text| parse_sequence(&text.0));
        let mut epoch = None;
        if attributes.kind == MEASUREMENTS_TYPE {
            let missing = |attribute| EnvelopeError::Measurement {
                id: attributes.id.clone().into_owned(),
                attribute,
            };
            let data = attributes.data.ok_or_else(|| missing("data"))?;
            sequence.ok_or_else(|| missing("sequence"))?;
            epoch = epoch_of_id(&attributes.id, sequence).or_else(|| {
                serde_json::from_str::<EpochOfData<'a>>(data.get())
                    .ok()
                    .map(|data| data.epoch)
            });
            if epoch.as_ref().is_none_or(|epoch| epoch.is_empty()) {
                return Err(missing("epoch"));
            }
        }
        Ok(Self {
            id: attributes.id,
            source: attributes.source,
            kind: attributes.kind,
            subject: attributes.subject.map(|text| text.0),
            time: attributes.time.map(|text| text.0),
            partition_key: attributes.partitionkey.map(|text| text.0),
            sequence,
            epoch,
            data_content_type: attributes.datacontenttype.map(|text| text.0),
            data: attributes.data,
        })
    }
}

fn parse_sequence(text: &str) -> Option<u64> {
    // u64's parser takes a leading '+'.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// `{module}/{device}/{group}/{epoch}/{sequence}`: saves reading the data when the id is of our own making.
fn epoch_of_id<'a>(id: &Cow<'a, str>, sequence: Option<u64>) -> Option<Cow<'a, str>> {
    let mut parts = id.rsplitn(5, '/');
    let (last, epoch) = (parts.next()?, parts.next()?);
    if parts.count() != 3 || parse_sequence(last) != sequence {
        return None;
    }
    match id {
        Cow::Borrowed(id) => id.rsplit('/').nth(1).map(Cow::Borrowed),
        Cow::Owned(_) => Some(Cow::Owned(epoch.to_owned())),
    }
}
