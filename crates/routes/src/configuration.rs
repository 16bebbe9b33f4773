//! Rules as they are written in a document.

use std::borrow::Cow;
use std::collections::BTreeMap;

use module_runtime::configuration::{ByteSize, Duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A rule: which events it takes, and what becomes of them. Rules are tried in their order, and the first that fits takes the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfiguration {
    /// The rule's name, for figures and people: 1 to 32 of A-Z a-z 0-9 . _ -; not `default`, which takes what no rule takes.
    pub name: String,
    /// What an event must be like. All that is written here must hold; without it every event is taken.
    #[serde(default)]
    pub when: Option<Conditions>,
    /// The events are acknowledged and counted, and go nowhere.
    #[serde(default)]
    pub drop: bool,
    /// 9 goes first, 0 last; 5 if nothing is said.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<u8>,
    /// What waits longer than this in the queue is dropped, 1s to 1000h; without it nothing is.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// The name of the hub identity that sends the events; without it any of them.
    #[serde(default)]
    pub identity: Option<String>,
    /// Application properties of the message beside `type`, `source`, `subject` and `topic`, by name.
    #[serde(default)]
    pub properties: Option<BTreeMap<String, PropertyConfiguration>>,
    /// Several events in one message; without it each event is a message.
    #[serde(default)]
    pub batch: Option<BatchConfiguration>,
}

/// What an event must be like. All that is written here must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The topic it came from: a text, or a list of which one must fit; `*` stands for any characters.
    #[serde(default)]
    pub topic: Option<Patterns>,
    /// The event's `type`: a text, or a list of which one must fit; `*` stands for any characters.
    #[serde(default, rename = "type")]
    pub kind: Option<Patterns>,
    /// The event's `source`: a text, or a list of which one must fit; `*` stands for any characters.
    #[serde(default)]
    pub source: Option<Patterns>,
    /// The event's `subject`: a text, or a list of which one must fit; `*` stands for any characters. An event without one does not fit.
    #[serde(default)]
    pub subject: Option<Patterns>,
    /// Tests of attributes by name, extension attributes too.
    #[serde(default)]
    pub attributes: Option<BTreeMap<String, Test>>,
    /// Tests of values in the data by path, such as values.pressure, values["press.1"] or items[0].name.
    #[serde(default)]
    pub data: Option<BTreeMap<String, Test>>,
    /// Every one of these must hold.
    #[serde(default)]
    pub all: Option<Vec<Conditions>>,
    /// At least one of these must hold.
    #[serde(default)]
    pub any: Option<Vec<Conditions>>,
    /// This must not hold.
    #[serde(default)]
    pub not: Option<Box<Conditions>>,
}

/// One text, or several of which one must fit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Patterns {
    /// A text; `*` stands for any characters.
    One(String),
    /// Several.
    AnyOf(Vec<String>),
}

impl Patterns {
    /// The texts.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::AnyOf(texts) => texts,
        }
    }
}

/// What a value must be like: a text (`*` stands for any characters), a number, true or false, a list of which one must fit, or comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Test {
    // Before the comparisons: serde would fill these from a list, too.
    /// One of these must fit.
    AnyOf(Vec<Scalar>),
    /// Comparisons that must all hold.
    Comparisons(Box<Comparisons>),
    /// A text (`*` stands for any characters), a number, true or false.
    Is(Scalar),
}

/// Comparisons that must all hold. Only `exists: false` holds where there is no value; a comparison with a number holds for numbers only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparisons {
    /// This value; `*` is a character like any other.
    #[serde(default)]
    pub equals: Option<Scalar>,
    /// Another value than this.
    #[serde(default)]
    pub not_equals: Option<Scalar>,
    /// One of these values; `*` is a character like any other.
    #[serde(default)]
    pub one_of: Option<Vec<Scalar>>,
    /// A text like this one, or like one of a list; `*` stands for any characters.
    #[serde(default)]
    pub matches: Option<Patterns>,
    /// A number greater than this.
    #[serde(default)]
    pub above: Option<serde_json::Number>,
    /// This number or a greater one.
    #[serde(default)]
    pub at_least: Option<serde_json::Number>,
    /// A number less than this.
    #[serde(default)]
    pub below: Option<serde_json::Number>,
    /// This number or a lesser one.
    #[serde(default)]
    pub at_most: Option<serde_json::Number>,
    /// true: there is a value; false: there is none.
    #[serde(default)]
    pub exists: Option<bool>,
    /// What the value is.
    #[serde(default)]
    pub is: Option<Kind>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Any number.
    Number,
    /// A number without a fraction; 2.0 is one.
    Integer,
    /// A text.
    Text,
    /// true or false.
    Boolean,
    /// A list.
    List,
    /// A mapping.
    Mapping,
    /// null.
    Nothing,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Mapping => "mapping",
            Self::Nothing => "nothing",
        }
    }
}

/// A text, a number, true or false.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// true or false.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean"],
            "x-expected": "a text, a number, true or false",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The value of a property: a text, a number, true or false, or where in the event it is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PropertyConfiguration {
    /// Taken from the event.
    Taken(TakenConfiguration),
    /// The same for every event.
    Constant(Scalar),
}

/// Where a property's value is taken from: exactly one of `attribute` and `data`. Without a value there the property is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakenConfiguration {
    /// An attribute of the event, extension attributes too.
    #[serde(default)]
    pub attribute: Option<String>,
    /// A value of the data by path, such as values.pressure.
    #[serde(default)]
    pub data: Option<String>,
    /// The value where the event has none.
    #[serde(default)]
    pub default: Option<Scalar>,
}

/// Several events in one message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchConfiguration {
    /// How the events are written into the message.
    #[serde(default)]
    pub encoding: Encoding,
    /// Compress the message's body.
    #[serde(default)]
    pub gzip: bool,
    /// Bytes of a message at most, properties included, 1KiB to 256KiB.
    #[serde(default = "defaults::max_bytes")]
    pub max_bytes: ByteSize,
    /// How long an event waits for others, 10ms to 1h.
    #[serde(default = "defaults::max_delay")]
    pub max_delay: Duration,
}

impl Default for BatchConfiguration {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            gzip: false,
            max_bytes: defaults::max_bytes(),
            max_delay: defaults::max_delay(),
        }
    }
}

/// How events are written into a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// A list of the events as they are.
    #[default]
    Plain,
    /// Measurements in columns, with the names of tags once per message.
    Compact,
    /// OPC UA PubSub JSON (Part 14).
    OpcuaPubsubJson,
}

mod defaults {
    use module_runtime::configuration::{ByteSize, Duration};

    pub(super) const fn max_bytes() -> ByteSize {
        ByteSize::from_kib(256)
    }

    pub(super) const fn max_delay() -> Duration {
        Duration::from_secs(1)
    }
}
