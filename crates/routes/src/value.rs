//! A value of an event, as far as rules look at it.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::number::Number;

/// Of lists and mappings only what they are.
#[derive(Debug, Clone)]
pub(crate) enum Value<'e> {
    Nothing,
    Boolean(bool),
    /// With the literal, which is what properties and people are shown.
    Number(Number, &'e str),
    Text(Cow<'e, str>),
    List,
    Mapping,
}

impl<'e> Value<'e> {
    pub(crate) fn of(json: &'e RawValue) -> Self {
        let text = json.get();
        match text.as_bytes().first() {
            Some(b'"') => Self::Text(unescaped(text)),
            Some(b'{') => Self::Mapping,
            Some(b'[') => Self::List,
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'n') | None => Self::Nothing,
            Some(_) => {
                Number::parse(text).map_or(Self::Nothing, |number| Self::Number(number, text))
            }
        }
    }

    /// As it stands in a property of a message: only single values have such a form.
    pub(crate) fn as_property(&self) -> Option<&str> {
        match self {
            Self::Boolean(true) => Some("true"),
            Self::Boolean(false) => Some("false"),
            Self::Number(_, literal) => Some(literal),
            Self::Text(text) => Some(text),
            Self::Nothing | Self::List | Self::Mapping => None,
        }
    }
}

fn unescaped(quoted: &str) -> Cow<'_, str> {
    let plain = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(quoted);
    if !plain.contains('\\') {
        return Cow::Borrowed(plain);
    }
    // Half a surrogate pair is valid in JSON and no text; it stays as it is written.
    serde_json::from_str(quoted).map_or(Cow::Borrowed(plain), Cow::Owned)
}

/// Longer texts are cut where they are shown.
const SHOWN: usize = 60;

/// For people: how it is written, or what it is.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("null"),
            Self::Boolean(flag) => flag.fmt(f),
            Self::Number(_, literal) => f.write_str(literal),
            Self::Text(text) if text.chars().count() > SHOWN => {
                let start: String = text.chars().take(SHOWN).collect();
                write!(f, "{:?}", format!("{start}…"))
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List => f.write_str("a list"),
            Self::Mapping => f.write_str("a mapping"),
        }
    }
}
