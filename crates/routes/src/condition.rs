//! A rule's conditions, ready to be tried.

use std::fmt;

use module_runtime::configuration::Path;
use serde::{Serialize, Serializer};

use crate::comparison::Comparison;
use crate::configuration::{Conditions, Patterns};
use crate::data_path;
use crate::event::{Aspect, Lookups, View};

/// One or several conditions. What costs least is tried first, and data is read only when nothing else decides.
#[derive(Debug)]
pub(crate) enum Condition {
    Leaf(Leaf),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>, Path),
}

/// Comparisons of one value.
#[derive(Debug)]
pub(crate) struct Leaf {
    subject: Aspect,
    /// As people call it: `subject`, `attribute severity`, `data values.pressure`.
    what: Box<str>,
    /// Where it is written, from the rule on.
    at: Path,
    comparisons: Vec<Comparison>,
}

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Where the condition is written, from the rule on: `when.data["values.pressure"]`.
    #[serde(serialize_with = "as_text")]
    pub at: Path,
    /// What it looks at and what it wants: `data values.pressure above 8.5`.
    pub wanted: String,
    /// What the event has there.
    pub seen: String,
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl Condition {
    /// None where a path is none, which the check of the document has told of.
    pub(crate) fn of(written: &Conditions, lookups: &mut Lookups) -> Option<Self> {
        Self::conjunction(written, &Path::root().join("when"), lookups)
    }

    fn conjunction(written: &Conditions, at: &Path, lookups: &mut Lookups) -> Option<Self> {
        // Named one by one, so that none is forgotten.
        let Conditions {
            topic,
            kind,
            source,
            subject,
            attributes,
            data,
            all,
            any,
            not,
        } = written;
        let mut parts = Vec::new();
        let fields: [(&str, Aspect, &Option<Patterns>); 4] = [
            ("topic", Aspect::Topic, topic),
            ("type", Aspect::Type, kind),
            ("source", Aspect::Source, source),
            ("subject", Aspect::Subject, subject),
        ];
        for (name, of, patterns) in fields {
            if let Some(patterns) = patterns {
                parts.push(Self::Leaf(Leaf {
                    subject: of,
                    what: name.into(),
                    at: at.join(name),
                    comparisons: vec![Comparison::of_patterns(patterns)],
                }));
            }
        }
        for (name, test) in attributes.iter().flatten() {
            parts.push(Self::Leaf(Leaf {
                subject: Aspect::of_attribute(name, &mut lookups.attributes),
                what: format!("attribute {name}").into(),
                at: at.join("attributes").join(name),
                comparisons: Comparison::of_test(test),
            }));
        }
        for (path, test) in data.iter().flatten() {
            let slot = lookups.data.add(&data_path::parse(path).ok()?);
            parts.push(Self::Leaf(Leaf {
                subject: Aspect::Data(slot),
                what: format!("data {path}").into(),
                at: at.join("data").join(path),
                comparisons: Comparison::of_test(test),
            }));
        }
        for (index, conditions) in all.iter().flatten().enumerate() {
            let at = at.join("all").join(index);
            parts.push(Self::conjunction(conditions, &at, lookups)?);
        }
        if let Some(any) = any {
            let mut alternatives = Vec::with_capacity(any.len());
            for (index, conditions) in any.iter().enumerate() {
                let at = at.join("any").join(index);
                alternatives.push(Self::conjunction(conditions, &at, lookups)?);
            }
            alternatives.sort_by_key(Self::cost);
            parts.push(Self::Any(alternatives));
        }
        if let Some(not) = not {
            let at = at.join("not");
            let inner = Self::conjunction(not, &at, lookups)?;
            parts.push(Self::Not(Box::new(inner), at));
        }
        parts.sort_by_key(Self::cost);
        Some(match <[Self; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => Self::All(parts),
        })
    }

    fn cost(&self) -> u8 {
        match self {
            Self::Leaf(leaf) => leaf.subject.cost(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::cost).max().unwrap_or(0),
            Self::Not(inner, _) => inner.cost(),
        }
    }

    pub(crate) fn holds(&self, view: &View<'_, '_>) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.holds(view),
            Self::All(parts) => parts.iter().all(|part| part.holds(view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(view)),
            Self::Not(inner, _) => !inner.holds(view),
        }
    }

    /// Why it does not hold: the first condition that fails, and where alternatives fail one of each.
    pub(crate) fn mismatches(&self, view: &View<'_, '_>, out: &mut Vec<Mismatch>) {
        match self {
            Self::Leaf(leaf) => leaf.mismatch(view, out),
            Self::All(parts) => {
                if let Some(failing) = parts.iter().find(|part| !part.holds(view)) {
                    failing.mismatches(view, out);
                }
            }
            Self::Any(parts) if !self.holds(view) => {
                for part in parts {
                    part.mismatches(view, out);
                }
            }
            Self::Not(inner, at) if inner.holds(view) => {
                let mut seen = Vec::new();
                inner.seen(view, &mut seen);
                out.push(Mismatch {
                    at: at.clone(),
                    wanted: self.to_string(),
                    seen: seen.join(", "),
                });
            }
            Self::Any(_) | Self::Not(..) => {}
        }
    }

    /// What the event has where this looks.
    fn seen(&self, view: &View<'_, '_>, out: &mut Vec<String>) {
        match self {
            Self::Leaf(leaf) => out.push(format!("{} is {}", leaf.what, leaf.seen(view))),
            Self::All(parts) => parts.iter().for_each(|part| part.seen(view, out)),
            Self::Any(parts) => {
                if let Some(holding) = parts.iter().find(|part| part.holds(view)) {
                    holding.seen(view, out);
                }
            }
            // That something else is so.
            Self::Not(inner, _) => inner.seen(view, out),
        }
    }
}

impl Leaf {
    fn failing(&self, view: &View<'_, '_>) -> Option<&Comparison> {
        let value = view.value(self.subject);
        self.comparisons
            .iter()
            .find(|comparison| !comparison.holds(value.as_ref()))
    }

    fn holds(&self, view: &View<'_, '_>) -> bool {
        self.failing(view).is_none()
    }

    fn seen(&self, view: &View<'_, '_>) -> String {
        match view.value(self.subject) {
            Some(value) => value.to_string(),
            None => "absent".to_owned(),
        }
    }

    fn mismatch(&self, view: &View<'_, '_>, out: &mut Vec<Mismatch>) {
        if let Some(comparison) = self.failing(view) {
            out.push(Mismatch {
                at: self.at.clone(),
                wanted: format!("{} {comparison}", self.what),
                seen: self.seen(view),
            });
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::Leaf(leaf) => {
                for (index, comparison) in leaf.comparisons.iter().enumerate() {
                    let and = if index > 0 { " and " } else { "" };
                    write!(f, "{and}{} {comparison}", leaf.what)?;
                }
                Ok(())
            }
            Self::All(parts) => listed(f, parts, "and"),
            Self::Any(parts) => listed(f, parts, "or"),
            Self::Not(inner, _) => write!(f, "not ({inner})"),
        }
    }
}
