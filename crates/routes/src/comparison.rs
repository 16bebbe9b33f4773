//! Comparisons of one value, ready to be made.

use std::cmp::Ordering;
use std::fmt;

use crate::configuration::{Comparisons, Kind, Patterns, Scalar, Test};
use crate::number::Number;
use crate::pattern::Pattern;
use crate::value::Value;

/// A value that is compared with.
#[derive(Debug, Clone)]
pub(crate) enum Choice {
    Boolean(bool),
    /// With the number as it was written.
    Number(Number, Box<str>),
    Text(Pattern),
}

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) enum Comparison {
    /// One of these.
    Is(Vec<Choice>),
    IsNot(Choice),
    Above(Bound),
    AtLeast(Bound),
    Below(Bound),
    AtMost(Bound),
    Exists,
    Absent,
    Kind(Kind),
}

/// A number that is compared with, and how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Bound(Number, Box<str>);

impl Comparison {
    /// A text or number or flag that stands for itself: in a text `*` stands for any characters.
    pub(crate) fn of_test(test: &Test) -> Vec<Self> {
        match test {
            Test::Is(scalar) => vec![Self::Is(vec![Choice::pattern(scalar)])],
            Test::AnyOf(scalars) => vec![Self::Is(scalars.iter().map(Choice::pattern).collect())],
            Test::Comparisons(comparisons) => Self::of_comparisons(comparisons),
        }
    }

    pub(crate) fn of_patterns(patterns: &Patterns) -> Self {
        let texts = patterns.texts().iter();
        Self::Is(texts.map(|text| Choice::Text(Pattern::new(text))).collect())
    }

    fn of_comparisons(written: &Comparisons) -> Vec<Self> {
        // Named one by one, so that none is forgotten.
        let Comparisons {
            equals,
            not_equals,
            one_of,
            matches,
            above,
            at_least,
            below,
            at_most,
            exists,
            is,
        } = written;
        let bound = |number: &serde_json::Number| Bound(number.into(), number.to_string().into());
        let choices = |scalars: &[Scalar]| Self::Is(scalars.iter().map(Choice::exact).collect());
        [
            exists.map(|exists| if exists { Self::Exists } else { Self::Absent }),
            is.map(Self::Kind),
            equals
                .as_ref()
                .map(|scalar| choices(std::slice::from_ref(scalar))),
            not_equals
                .as_ref()
                .map(|scalar| Self::IsNot(Choice::exact(scalar))),
            one_of.as_deref().map(choices),
            matches.as_ref().map(Self::of_patterns),
            above.as_ref().map(bound).map(Self::Above),
            at_least.as_ref().map(bound).map(Self::AtLeast),
            below.as_ref().map(bound).map(Self::Below),
            at_most.as_ref().map(bound).map(Self::AtMost),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(crate) fn holds(&self, value: Option<&Value<'_>>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Absent);
        };
        match self {
            Self::Is(choices) => choices.iter().any(|choice| choice.is(value)),
            Self::IsNot(choice) => !choice.is(value),
            Self::Above(bound) => bound.is_met(value, &[Ordering::Greater]),
            Self::AtLeast(bound) => bound.is_met(value, &[Ordering::Greater, Ordering::Equal]),
            Self::Below(bound) => bound.is_met(value, &[Ordering::Less]),
            Self::AtMost(bound) => bound.is_met(value, &[Ordering::Less, Ordering::Equal]),
            Self::Exists => true,
            Self::Absent => false,
            Self::Kind(kind) => is_kind(*kind, value),
        }
    }
}

impl Bound {
    fn is_met(&self, value: &Value<'_>, orders: &[Ordering]) -> bool {
        match value {
            Value::Number(number, _) => orders.contains(&number.compare(self.0)),
            _ => false,
        }
    }
}

impl Choice {
    fn exact(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Boolean(flag) => Self::Boolean(*flag),
            Scalar::Number(number) => Self::Number(number.into(), number.to_string().into()),
            Scalar::Text(text) => Self::Text(Pattern::exact(text)),
        }
    }

    fn pattern(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::Text(Pattern::new(text)),
            other => Self::exact(other),
        }
    }

    fn is(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Boolean(one), Value::Boolean(other)) => one == other,
            (Self::Number(one, _), Value::Number(other, _)) => {
                one.compare(*other) == Ordering::Equal
            }
            (Self::Text(pattern), Value::Text(text)) => pattern.is_match(text),
            _ => false,
        }
    }
}

fn is_kind(kind: Kind, value: &Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Number, Value::Number(..))
        | (Kind::Text, Value::Text(_))
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::List, Value::List)
        | (Kind::Mapping, Value::Mapping)
        | (Kind::Nothing, Value::Nothing) => true,
        (Kind::Integer, Value::Number(number, _)) => number.is_whole(),
        _ => false,
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(flag) => flag.fmt(f),
            Self::Number(_, written) => f.write_str(written),
            Self::Text(pattern) => write!(f, "{:?}", pattern.as_str()),
        }
    }
}

/// In the words of the document, to follow what it looks at.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(choices) => {
                let has_star =
                    |choice: &Choice| matches!(choice, Choice::Text(pattern) if pattern.has_star());
                let (word, several) = if choices.iter().any(has_star) {
                    ("matches", "matches one of")
                } else {
                    ("equals", "one of")
                };
                f.write_str(if choices.len() == 1 { word } else { several })?;
                for (index, choice) in choices.iter().enumerate() {
                    write!(f, "{} {choice}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::IsNot(choice) => write!(f, "not equals {choice}"),
            Self::Above(bound) => write!(f, "above {}", bound.1),
            Self::AtLeast(bound) => write!(f, "at least {}", bound.1),
            Self::Below(bound) => write!(f, "below {}", bound.1),
            Self::AtMost(bound) => write!(f, "at most {}", bound.1),
            Self::Exists => f.write_str("exists"),
            Self::Absent => f.write_str("does not exist"),
            Self::Kind(kind) => write!(f, "is {}", kind.as_str()),
        }
    }
}
