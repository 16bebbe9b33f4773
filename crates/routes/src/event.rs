//! An event as rules see it.

use std::borrow::Cow;
use std::cell::OnceCell;

use measurement::Envelope;

use crate::lookup::{Found, Lookup};
use crate::value::Value;

/// An event on its way: where it came from, its attributes, and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Event<'e> {
    /// The topic it came from.
    pub topic: &'e str,
    /// Its attributes.
    pub envelope: &'e Envelope<'e>,
    /// The whole document that `envelope` was read from.
    pub body: &'e [u8],
}

/// What a condition or a property looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    Topic,
    Id,
    Source,
    Type,
    Subject,
    Time,
    PartitionKey,
    ContentType,
    /// Position in the lookup of attributes.
    Attribute(usize),
    /// Position in the lookup of data.
    Data(usize),
}

impl Aspect {
    /// An attribute that the envelope has, or else one to look up.
    pub(crate) fn of_attribute(name: &str, lookup: &mut Lookup) -> Self {
        match name {
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "partitionkey" => Self::PartitionKey,
            "datacontenttype" => Self::ContentType,
            other => {
                let step = crate::data_path::Step::Key(other.to_owned());
                Self::Attribute(lookup.add(&[step]))
            }
        }
    }

    /// What it costs to look there: nothing, a pass over the event, a pass over its data.
    pub(crate) fn cost(self) -> u8 {
        match self {
            Self::Attribute(_) => 1,
            Self::Data(_) => 2,
            _ => 0,
        }
    }
}

/// An event while its rules are tried: what was read of it stays read.
#[derive(Debug)]
pub(crate) struct View<'r, 'e> {
    event: Event<'e>,
    lookups: &'r Lookups,
    attributes: OnceCell<Found<'e>>,
    data: OnceCell<Found<'e>>,
}

/// What all rules together look for.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    pub(crate) attributes: Lookup,
    pub(crate) data: Lookup,
}

impl<'r, 'e> View<'r, 'e> {
    pub(crate) fn new(event: Event<'e>, lookups: &'r Lookups) -> Self {
        Self {
            event,
            lookups,
            attributes: OnceCell::new(),
            data: OnceCell::new(),
        }
    }

    pub(crate) fn value(&self, subject: Aspect) -> Option<Value<'_>> {
        let envelope = self.event.envelope;
        let text = match subject {
            Aspect::Topic => Some(self.event.topic),
            Aspect::Id => Some(&*envelope.id),
            Aspect::Source => Some(&*envelope.source),
            Aspect::Type => Some(&*envelope.kind),
            Aspect::Subject => envelope.subject.as_deref(),
            Aspect::Time => envelope.time.as_deref(),
            Aspect::PartitionKey => envelope.partition_key.as_deref(),
            Aspect::ContentType => envelope.data_content_type.as_deref(),
            Aspect::Attribute(slot) => {
                let found = self
                    .attributes
                    .get_or_init(|| self.lookups.attributes.find(self.event.body));
                // An attribute that is null is not set (CloudEvents JSON format, section 2.2).
                return borrowed(found, slot).filter(|value| !matches!(value, Value::Nothing));
            }
            Aspect::Data(slot) => {
                let found = self.data.get_or_init(|| match envelope.data {
                    Some(data) => self.lookups.data.find(data.get().as_bytes()),
                    None => Vec::new(),
                });
                return borrowed(found, slot);
            }
        };
        text.map(|text| Value::Text(Cow::Borrowed(text)))
    }

    #[cfg(test)]
    pub(crate) fn has_read_data(&self) -> bool {
        self.data.get().is_some()
    }
}

fn borrowed<'v>(found: &'v Found<'_>, slot: usize) -> Option<Value<'v>> {
    Some(match found.get(slot)?.as_ref()? {
        Value::Text(text) => Value::Text(Cow::Borrowed(text)),
        other => other.clone(),
    })
}
