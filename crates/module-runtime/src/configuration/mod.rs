//! A module's configuration: one typed document, checked as a whole, with every problem located.
//!
//! Reading goes: YAML (or JSON) with the position of every node → the type's JSON Schema, all violations collected →
//! the type itself → [`ModuleConfiguration::check`]. A document in which the schema or the type found something goes on as
//! a repaired copy, so that one run lists every problem; what that can and cannot tell is said in `standing.rs`.

mod alternatives;
mod document;
mod explain;
mod filler;
mod path;
mod problem;
mod repair;
mod schema;
mod standing;
mod units;
mod watch;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use document::{Document, Position};
pub use path::{Path, Segment};
pub use problem::{ConfigurationError, Problem, Problems};
pub use schema::{CheckedSchema, SchemaError, document_schema};
pub use units::{ByteSize, Duration};
pub use watch::{ConfigurationWatch, WatchError};

/// The largest document that is read, in bytes.
pub const MAX_DOCUMENT: u64 = 64 << 20;

/// A module's configuration type. Give it `#[serde(deny_unknown_fields)]`, and do not declare `name` and `version`:
/// every document may carry them, the runtime takes them out first.
pub trait ModuleConfiguration:
    serde::de::DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static
{
    /// What the schema cannot say. Every problem is added with its path: `problems.add(path!["devices", 3, "unit"], "…")`.
    ///
    /// `self` always holds by the schema. Where the document does not, this is called several times, with different values in
    /// the places that are wrong, and only a problem that is added every time with the same words is told.
    fn check(&self, problems: &mut Problems);
}

/// A document that held.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The document without `name` and `version`.
    pub configuration: Arc<C>,
    /// Its `name`, or empty.
    pub name: String,
    /// Its `version`, or empty.
    pub version: String,
    /// SHA-256 of the file, hex.
    pub hash: String,
}

impl<C> Clone for Loaded<C> {
    fn clone(&self) -> Self {
        Self {
            configuration: Arc::clone(&self.configuration),
            name: self.name.clone(),
            version: self.version.clone(),
            hash: self.hash.clone(),
        }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Every problem of the document, or the one that kept the file from being read.
pub fn load<C: ModuleConfiguration>(
    path: &std::path::Path,
) -> Result<Loaded<C>, ConfigurationError> {
    let file = path.display().to_string();
    let text = read(path).map_err(|message| unreadable(&file, message))?;
    load_bytes(&file, &text)
}

/// Checks a document that is already in memory; `file_name` is only for the messages.
///
/// # Errors
/// Every problem of the document.
pub fn load_str<C: ModuleConfiguration>(
    file_name: &str,
    text: &str,
) -> Result<Loaded<C>, ConfigurationError> {
    load_text(file_name, text, TopKeys::OfTheRuntime)
}

/// As [`load_str`], for a document that is no module's: `name` and `version` are keys like any other, and the type declares them if it
/// wants them.
///
/// # Errors
/// Every problem of the document.
pub fn load_str_as_written<C: ModuleConfiguration>(
    file_name: &str,
    text: &str,
) -> Result<Loaded<C>, ConfigurationError> {
    load_text(file_name, text, TopKeys::OfTheType)
}

/// Whose the keys `name` and `version` of a document are.
#[derive(Clone, Copy)]
enum TopKeys {
    OfTheRuntime,
    OfTheType,
}

fn load_text<C: ModuleConfiguration>(
    file_name: &str,
    text: &str,
    top: TopKeys,
) -> Result<Loaded<C>, ConfigurationError> {
    let hash = sha256(text.as_bytes());
    let document = Document::parse(file_name, text).map_err(|problem| ConfigurationError {
        problems: vec![problem],
        hash: Some(hash.clone()),
    })?;
    let mut value = document.value().clone();
    let mut problems = Problems::new(document);
    let (name, version) = match top {
        TopKeys::OfTheRuntime => (
            take_text(&mut value, "name", &mut problems),
            take_text(&mut value, "version", &mut problems),
        ),
        TopKeys::OfTheType => (String::new(), String::new()),
    };

    let configuration = match CheckedSchema::of::<C>() {
        Ok(schema) => typed::<C>(&schema, &value, &mut problems),
        Err(error) => {
            problems.add(Path::root(), error.to_string());
            None
        }
    };
    problems.into_result(file_name, &hash)?;
    match configuration {
        Some(configuration) => Ok(Loaded {
            configuration: Arc::new(configuration),
            name,
            version,
            hash,
        }),
        None => Err(unreadable(file_name, "cannot be read".to_owned())),
    }
}

/// The typed document, if it holds; every problem of it, if not.
fn typed<C: ModuleConfiguration>(
    schema: &CheckedSchema,
    value: &Value,
    problems: &mut Problems,
) -> Option<C> {
    let violations = schema.violations(value);
    if violations.is_empty() {
        match serde_path_to_error::deserialize::<_, C>(value) {
            Ok(configuration) => {
                configuration.check(problems);
                return Some(configuration);
            }
            Err(error) => problems.add(error.path(), error.inner().to_string()),
        }
    }
    for sentence in violations {
        if sentence.at_key {
            problems.add_at_key(sentence.path, sentence.message);
        } else {
            problems.add(sentence.path, sentence.message);
        }
    }
    standing::check::<C>(schema, value, problems);
    None
}

fn load_bytes<C: ModuleConfiguration>(
    file: &str,
    bytes: &[u8],
) -> Result<Loaded<C>, ConfigurationError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => load_str(file, text.trim_start_matches('\u{feff}')).map(|mut loaded| {
            loaded.hash = sha256(bytes);
            loaded
        }),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let mut problem = unreadable(file, "is not UTF-8; save the file as UTF-8".to_owned());
            problem.hash = Some(sha256(bytes));
            for found in &mut problem.problems {
                found.line = line;
                found.column = 1 + before
                    .iter()
                    .rev()
                    .take_while(|byte| **byte != b'\n')
                    .count();
            }
            Err(problem)
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| {
        format!(
            "cannot be opened ({error}); give the configuration with --config or FIELDGATE_CONFIG"
        )
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(format!(
            "is larger than {}",
            ByteSize::from_bytes(MAX_DOCUMENT)
        ));
    }
    Ok(bytes)
}

fn unreadable(file: &str, message: String) -> ConfigurationError {
    ConfigurationError {
        problems: vec![Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
        }],
        hash: None,
    }
}

/// SHA-256, hex: what [`Loaded::hash`] is of the file.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Takes `name` or `version` out of the document. A version may be written as a number: people do.
fn take_text(value: &mut Value, key: &str, problems: &mut Problems) -> String {
    match value.as_object_mut().and_then(|object| object.remove(key)) {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if key == "version" => number.to_string(),
        Some(other) => {
            let message = format!("must be a text, not {}", words::shown(&other));
            problems.add(Path::root().join(key), message);
            String::new()
        }
    }
}
