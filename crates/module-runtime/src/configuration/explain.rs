//! Schema violations as sentences a person at a machine can act on.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::alternatives;
use super::path::{Path, Segment};
use super::repair::Mend;
use super::words::{expected, list, meant, one_of, range, resolve, schema_at, shown};

/// One violation in plain words.
#[derive(Debug)]
pub(crate) struct Sentence<'s> {
    pub(crate) path: Path,
    /// It is the key at the path that is wrong.
    pub(crate) at_key: bool,
    pub(crate) message: String,
    /// What would make the document hold here.
    pub(crate) mend: Mend<'s>,
}

impl<'s> Sentence<'s> {
    /// A value that would have to be what the schema says.
    pub(crate) fn at(path: Path, message: impl Into<String>, schema: &'s Value) -> Self {
        Self {
            mend: Mend::value(&path, schema),
            path,
            at_key: false,
            message: message.into(),
        }
    }
}

/// The sentences of one violation: several when keys are unknown, none when another violation says it better.
pub(crate) fn sentences<'s>(root: &'s Value, error: &ValidationError<'_>) -> Vec<Sentence<'s>> {
    let path = instance_path(error);
    let instance = error.instance().as_ref();
    let pointer = error.schema_path().as_str();
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    // What the violated keyword stands in.
    let schema = schema_at(root, parent).unwrap_or(&Value::Null);

    let message = match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let inherited = matches!(error.kind(), Kind::UnevaluatedProperties { .. });
            return unknown_keys(root, schema, &path, unexpected, inherited);
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            return alternatives::explain(root, schema, instance, &path, context);
        }
        Kind::OneOfMultipleValid { .. } => {
            format!(
                "fits more than one of: {}; leave only one",
                expected(root, schema)
            )
        }
        Kind::Required { property } => return vec![missing(root, schema, &path, property)],
        Kind::Type { .. } => must_be(&expected(root, schema), instance),
        Kind::Enum { .. } => not_a_choice(root, schema, instance),
        Kind::Constant { expected_value } => {
            must_be(&one_of(std::slice::from_ref(&**expected_value)), instance)
        }
        Kind::Minimum { .. }
        | Kind::Maximum { .. }
        | Kind::ExclusiveMinimum { .. }
        | Kind::ExclusiveMaximum { .. } => {
            format!(
                "{instance} is out of range; give a number{}",
                range_or_limit(schema, error)
            )
        }
        Kind::Pattern { pattern } => match schema.get("x-expected").and_then(Value::as_str) {
            Some(words) => must_be(words, instance),
            None => format!("{} does not match {pattern}", shown(instance)),
        },
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("is too short; at least {limit} characters"),
        Kind::MaxLength { limit } => format!("is too long; at most {limit} characters"),
        Kind::MinItems { limit: 1 } => "the list is empty; add at least one entry".to_owned(),
        Kind::MinItems { limit } => format!("the list is too short; at least {limit} entries"),
        Kind::MaxItems { limit } => format!("the list is too long; at most {limit} entries"),
        Kind::MinProperties { limit: 1 } => "the mapping is empty; add at least one key".to_owned(),
        Kind::MinProperties { limit } => format!("has too few keys; at least {limit}"),
        Kind::MaxProperties { limit } => format!("has too many keys; at most {limit}"),
        Kind::MultipleOf { multiple_of } => {
            format!("{instance} is not a multiple of {multiple_of}")
        }
        Kind::UniqueItems => "an entry is in the list twice; remove one".to_owned(),
        Kind::FalseSchema => "is not allowed here; remove it".to_owned(),
        Kind::Format { format } => format!("{} is not a valid {format}", shown(instance)),
        Kind::PropertyNames { error } => format!("a key is not allowed: {error}"),
        _ => error.to_string(),
    };
    vec![Sentence::at(path, message, schema)]
}

/// The instance path of a violation.
pub(crate) fn instance_path(error: &ValidationError<'_>) -> Path {
    let segments: Vec<Segment> = error
        .instance_path()
        .iter()
        .map(|segment| match segment {
            jsonschema::paths::LocationSegment::Property(key) => Segment::Key(key.into_owned()),
            jsonschema::paths::LocationSegment::Index(index) => Segment::Index(index),
        })
        .collect();
    segments.into()
}

pub(crate) fn must_be(expected: &str, instance: &Value) -> String {
    format!("must be {expected}, not {}", shown(instance))
}

/// A value that is none of the choices.
pub(crate) fn not_a_choice(root: &Value, schema: &Value, instance: &Value) -> String {
    let choices = super::words::choices(root, schema).unwrap_or_default();
    let sentence = must_be(&one_of(&choices), instance);
    let names = choices.iter().filter_map(Value::as_str);
    match instance.as_str().and_then(|written| meant(written, names)) {
        Some(name) => format!("{sentence}; did you mean {name}?"),
        None => sentence,
    }
}

fn missing<'s>(root: &'s Value, schema: &'s Value, path: &Path, property: &Value) -> Sentence<'s> {
    let key = property.as_str().unwrap_or_default();
    let wanted = schema
        .get("properties")
        .and_then(|properties| properties.get(key));
    let words = wanted
        .map(|schema| format!(": {}", expected(root, schema)))
        .unwrap_or_default();
    Sentence {
        path: path.clone(),
        at_key: false,
        message: format!("the key \"{key}\" is missing; add it{words}"),
        mend: Mend::value(&path.join(key), wanted.unwrap_or(&Value::Bool(true))),
    }
}

fn unknown_keys<'s>(
    root: &'s Value,
    schema: &'s Value,
    path: &Path,
    unexpected: &[String],
    inherited: bool,
) -> Vec<Sentence<'s>> {
    let mut known = Vec::new();
    keys(root, schema, inherited, &mut known);
    let names: Vec<String> = known.iter().map(|(name, _)| name.clone()).collect();
    unexpected
        .iter()
        // A key that one of the alternatives knows is unevaluated because that alternative failed, which is told anyway.
        .filter(|key| !names.contains(key))
        .map(|key| {
            let message = match meant(key, names.iter().map(String::as_str)) {
                Some(name) => format!("unknown key; did you mean \"{name}\"?"),
                None if names.is_empty() => "unknown key; remove it".to_owned(),
                None => format!("unknown key; remove it, or use one of: {}", list(&names)),
            };
            Sentence {
                path: path.join(key.as_str()),
                at_key: true,
                message,
                mend: Mend::Unknown {
                    mapping: path.clone(),
                    key: key.clone(),
                    known: known.clone(),
                },
            }
        })
        .collect()
}

/// The keys a schema knows; with `inherited` those of everything it is composed of too.
fn keys<'s>(
    root: &'s Value,
    schema: &'s Value,
    inherited: bool,
    found: &mut Vec<(String, &'s Value)>,
) {
    let own = schema.get("properties").and_then(Value::as_object);
    found.extend(
        own.into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), schema)),
    );
    if !inherited {
        return;
    }
    let target = resolve(root, schema);
    if !std::ptr::eq(target, schema) {
        keys(root, target, true, found);
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let branches = schema.get(keyword).and_then(Value::as_array);
        for branch in branches.into_iter().flatten() {
            keys(root, branch, true, found);
        }
    }
}

fn range_or_limit(schema: &Value, error: &ValidationError<'_>) -> String {
    let words = range(schema);
    if !words.is_empty() {
        return words;
    }
    match error.kind() {
        Kind::Minimum { limit } => format!(" of at least {limit}"),
        Kind::Maximum { limit } => format!(" of at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!(" greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!(" less than {limit}"),
        _ => String::new(),
    }
}
