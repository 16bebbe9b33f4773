//! Application properties that a route adds to messages.

use crate::configuration::{PropertyConfiguration, Scalar};
use crate::data_path;
use crate::event::{Aspect, Lookups, View};

/// Properties of one route at most.
pub const MOST_PROPERTIES: usize = 32;
/// Characters of a property's name at most.
pub const NAME_CHARS: usize = 64;
/// Bytes of a property's value at most. With this, the properties of a route always fit into the topic of an MQTT message, where each byte may
/// need three.
pub const VALUE_BYTES: usize = 512;

/// Properties that every message of iothub-module has.
const OWN: [&str; 4] = ["type", "source", "subject", "topic"];

/// Names under which IoT Hub shows system properties, beside those that begin with `iothub-` and `dt-`.
const SYSTEM: [&str; 11] = [
    "message-id",
    "correlation-id",
    "user-id",
    "content-type",
    "content-encoding",
    "creation-time",
    "absolute-expiry-time",
    "to",
    "output-name",
    "sequence-number",
    "mqtt-retain",
];

/// What is wrong with a property's name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let lower = name.to_ascii_lowercase();
    if name.starts_with("$.") {
        return Err("begins with $., which is for system properties; rename it".to_owned());
    }
    if name.is_empty() || name.chars().count() > NAME_CHARS || !name.chars().all(plain) {
        return Err(format!(
            "is not a name for a property; use 1 to {NAME_CHARS} of the characters A-Z a-z 0-9 . _ -"
        ));
    }
    if OWN.contains(&name) {
        return Err(format!(
            "every message has the property {name} already, from the event; rename it"
        ));
    }
    if SYSTEM.contains(&lower.as_str()) || lower.starts_with("iothub-") || lower.starts_with("dt-")
    {
        return Err("is a name of IoT Hub's own; rename it".to_owned());
    }
    Ok(())
}

/// A property of a route.
#[derive(Debug)]
pub(crate) struct Property {
    name: Box<str>,
    value: Source,
}

#[derive(Debug)]
enum Source {
    Constant(Box<str>),
    Taken {
        subject: Aspect,
        default: Option<Box<str>>,
    },
}

impl Property {
    /// None where the check of the document has found something.
    pub(crate) fn of(
        name: &str,
        written: &PropertyConfiguration,
        lookups: &mut Lookups,
    ) -> Option<Self> {
        let value = match written {
            PropertyConfiguration::Constant(scalar) => Source::Constant(text(scalar)),
            PropertyConfiguration::Taken(taken) => {
                let subject = match (&taken.attribute, &taken.data) {
                    (Some(name), None) => Aspect::of_attribute(name, &mut lookups.attributes),
                    (None, Some(path)) => {
                        Aspect::Data(lookups.data.add(&data_path::parse(path).ok()?))
                    }
                    _ => return None,
                };
                let default = taken.default.as_ref().map(text);
                Source::Taken { subject, default }
            }
        };
        check_name(name).ok()?;
        Some(Self {
            name: name.into(),
            value,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value for an event, or why the event has none.
    pub(crate) fn value(&self, view: &View<'_, '_>) -> Result<String, String> {
        let (subject, default) = match &self.value {
            Source::Constant(text) => return Ok(text.to_string()),
            Source::Taken { subject, default } => (*subject, default),
        };
        let value = view.value(subject);
        let missing = match &value {
            None => "absent".to_owned(),
            Some(value) => match value.as_property() {
                Some(text) if text.len() <= VALUE_BYTES => return Ok(text.to_owned()),
                Some(text) => format!("{} bytes long, {VALUE_BYTES} are allowed", text.len()),
                None => value.to_string(),
            },
        };
        match default {
            Some(text) => Ok(text.to_string()),
            None => Err(missing),
        }
    }
}

/// A constant as it stands in a property.
pub(crate) fn text(scalar: &Scalar) -> Box<str> {
    match scalar {
        Scalar::Boolean(flag) => flag.to_string().into(),
        Scalar::Number(number) => number.to_string().into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hubs_keep_for_themselves_are_refused() {
        for good in ["line", "Line_4.b-c", &"x".repeat(NAME_CHARS)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "$.mid",
            "$x",
            "a b",
            "größe",
            "a=b",
            "topic",
            "iothub-enqueuedtime",
            "IoTHub-x",
            "dt-subject",
            "Content-Type",
            "mqtt-retain",
            &"x".repeat(NAME_CHARS + 1),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
