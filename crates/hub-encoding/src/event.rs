//! A measurement event as its parts, borrowed from its JSON text.

use std::borrow::Cow;
use std::fmt;

use measurement::MEASUREMENTS_TYPE;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{Members, Text};

/// A measurement event in the form that columns can hold. Values, reasons, times and extension attributes are JSON texts as they stand.
#[derive(Debug)]
pub(crate) struct Measurement<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) source: Cow<'a, str>,
    pub(crate) subject: Option<Cow<'a, str>>,
    pub(crate) partition_key: Option<Cow<'a, str>>,
    pub(crate) sequence_text: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<Cow<'a, str>>,
    pub(crate) time: &'a str,
    pub(crate) extensions: Vec<(Cow<'a, str>, &'a str)>,
    pub(crate) device: Cow<'a, str>,
    pub(crate) group: Cow<'a, str>,
    pub(crate) epoch: Cow<'a, str>,
    pub(crate) sequence: u64,
    pub(crate) timestamp: &'a str,
    pub(crate) values: Vec<(Cow<'a, str>, &'a str)>,
    pub(crate) bad: Option<Vec<(Cow<'a, str>, &'a str)>>,
    pub(crate) timestamps: Option<Vec<(Cow<'a, str>, &'a str)>>,
}

impl<'a> Measurement<'a> {
    /// None if it is no measurement, or one that says more than the columns can hold: it then travels as it is.
    pub(crate) fn parse(event: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(event).ok()
    }

    /// The last part of `source`.
    pub(crate) fn module(&self) -> &str {
        module_of(&self.source)
    }

    /// How many tags there are, good and bad.
    pub(crate) fn tags(&self) -> usize {
        self.values.len() + self.bad.as_ref().map_or(0, Vec::len)
    }
}

/// The last part of a `source`.
pub(crate) fn module_of(source: &str) -> &str {
    source.rsplit('/').next().unwrap_or_default()
}

/// Whether a text is a JSON string, number, true or false; it is known to be JSON.
fn is_scalar(text: &str) -> bool {
    !matches!(text.as_bytes().first(), Some(b'{' | b'[' | b'n') | None)
}

fn is_string(text: &str) -> bool {
    text.starts_with('"')
}

/// Sets what was not set; a member that is there twice is no measurement.
fn once<T, E: serde::de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a member twice")),
    }
}

fn required<T, E: serde::de::Error>(slot: Option<T>) -> Result<T, E> {
    slot.ok_or_else(|| E::custom("a member is missing"))
}

fn unique(members: &[(Cow<'_, str>, &str)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

/// The members of `values`, `bad` and `timestamps`.
fn tags<'de, A: MapAccess<'de>>(
    map: &mut A,
    fits: fn(&str) -> bool,
) -> Result<Vec<(Cow<'de, str>, &'de str)>, A::Error> {
    let Members(members) = map.next_value()?;
    if !members.iter().all(|(_, value)| fits(value)) {
        return Err(A::Error::custom("a value of another kind"));
    }
    if !unique(&members) {
        return Err(A::Error::custom("a tag twice"));
    }
    Ok(members)
}

fn string_token<'de, A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, A::Error> {
    let token = map.next_value::<&'de RawValue>()?.get();
    if is_string(token) {
        Ok(token)
    } else {
        Err(A::Error::custom("no string"))
    }
}

#[derive(Default)]
struct Data<'a> {
    device: Option<Cow<'a, str>>,
    group: Option<Cow<'a, str>>,
    epoch: Option<Cow<'a, str>>,
    sequence: Option<u64>,
    timestamp: Option<&'a str>,
    values: Option<Vec<(Cow<'a, str>, &'a str)>>,
    bad: Option<Vec<(Cow<'a, str>, &'a str)>>,
    timestamps: Option<Vec<(Cow<'a, str>, &'a str)>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Data<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the data of a measurement")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut data = Data::default();
                while let Some(Text(key)) = map.next_key()? {
                    match key.as_ref() {
                        "device" => once(&mut data.device, map.next_value::<Text<'de>>()?.0)?,
                        "group" => once(&mut data.group, map.next_value::<Text<'de>>()?.0)?,
                        "epoch" => once(&mut data.epoch, map.next_value::<Text<'de>>()?.0)?,
                        "sequence" => once(&mut data.sequence, map.next_value()?)?,
                        "timestamp" => once(&mut data.timestamp, string_token(&mut map)?)?,
                        "values" => once(&mut data.values, tags(&mut map, is_scalar)?)?,
                        "bad" => once(&mut data.bad, tags(&mut map, is_string)?)?,
                        "timestamps" => once(&mut data.timestamps, tags(&mut map, is_string)?)?,
                        _ => return Err(A::Error::custom("a member of another kind")),
                    }
                }
                Ok(data)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Measurement<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Measurement<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a measurement")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut version, mut kind) = (None, None);
                let (mut id, mut source, mut subject, mut partition_key) = (None, None, None, None);
                let (mut sequence_text, mut content_type) = (None, None);
                let (mut time, mut data) = (None, None);
                let mut extensions = Vec::new();
                while let Some(Text(key)) = map.next_key()? {
                    match key.as_ref() {
                        "specversion" => once(&mut version, map.next_value::<Text<'de>>()?.0)?,
                        "type" => once(&mut kind, map.next_value::<Text<'de>>()?.0)?,
                        "id" => once(&mut id, map.next_value::<Text<'de>>()?.0)?,
                        "source" => once(&mut source, map.next_value::<Text<'de>>()?.0)?,
                        "subject" => once(&mut subject, map.next_value::<Text<'de>>()?.0)?,
                        "partitionkey" => {
                            once(&mut partition_key, map.next_value::<Text<'de>>()?.0)?
                        }
                        "sequence" => once(&mut sequence_text, map.next_value::<Text<'de>>()?.0)?,
                        "datacontenttype" => {
                            once(&mut content_type, map.next_value::<Text<'de>>()?.0)?
                        }
                        "time" => once(&mut time, string_token(&mut map)?)?,
                        "data" if kind.as_deref().is_none_or(|kind| kind == MEASUREMENTS_TYPE) => {
                            once(&mut data, map.next_value::<Data<'de>>()?)?;
                        }
                        "data" | "data_base64" => {
                            map.next_value::<IgnoredAny>()?;
                            return Err(A::Error::custom("data of another kind"));
                        }
                        _ => {
                            let token = map.next_value::<&'de RawValue>()?.get();
                            if !is_scalar(token) {
                                return Err(A::Error::custom("an attribute of another kind"));
                            }
                            extensions.push((key, token));
                        }
                    }
                }
                if version.as_deref() != Some("1.0") || kind.as_deref() != Some(MEASUREMENTS_TYPE) {
                    return Err(A::Error::custom("an event of another kind"));
                }
                if !unique(&extensions) {
                    return Err(A::Error::custom("an attribute twice"));
                }
                let data: Data<'de> = required(data)?;
                Ok(Measurement {
                    id: required(id)?,
                    source: required(source)?,
                    subject,
                    partition_key,
                    sequence_text,
                    content_type,
                    time: required(time)?,
                    extensions,
                    device: required(data.device)?,
                    group: required(data.group)?,
                    epoch: required(data.epoch)?,
                    sequence: required(data.sequence)?,
                    timestamp: required(data.timestamp)?,
                    values: required(data.values)?,
                    bad: data.bad,
                    timestamps: data.timestamps,
                })
            }
        }
        deserializer.deserialize_map(Object)
    }
}
