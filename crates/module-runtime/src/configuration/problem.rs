//! What is wrong with a document, and where.

use std::fmt;
use std::ops::RangeInclusive;

use super::document::Document;
use super::path::Path;
use super::repair::Places;

/// One thing to mend in a configuration document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Problem {
    /// The document's file name as it was given.
    pub file: String,
    /// From 1; 0 when the file could not be read at all.
    pub line: usize,
    /// From 1, counted in characters; 0 when the file could not be read at all.
    pub column: usize,
    /// `devices[3].unit`; empty for the whole document.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every problem of one document, sorted by position. `Display` gives one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationError {
    /// At least one.
    pub problems: Vec<Problem>,
    /// SHA-256 (hex) of the rejected document; none when it could not be read.
    pub hash: Option<String>,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigurationError {}

impl ConfigurationError {
    /// A line for every problem.
    pub(crate) fn log_rejected(&self) {
        for problem in &self.problems {
            tracing::error!(%problem, "configuration rejected; the one before stays in force");
        }
    }
}

/// A problem that has no position yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Found {
    pub(crate) path: Path,
    pub(crate) at_key: bool,
    pub(crate) message: String,
}

/// Collects the problems of one document; knows where each path is in the file.
///
/// A document that its schema refused is checked as a repaired copy, so that one run tells everything. Then nothing that is
/// added about a repaired place is taken in, and what comes from the repair is told apart (see [`super::ModuleConfiguration`]).
#[derive(Debug)]
pub struct Problems {
    document: Document,
    found: Vec<Found>,
    /// While a repaired copy is checked: where it is not the document.
    copy: Option<Places>,
}

impl Problems {
    pub(crate) fn new(document: Document) -> Self {
        Self {
            document,
            found: Vec::new(),
            copy: None,
        }
    }

    /// Adds a problem at a value. The message says what is wrong and the remedy; a path that is not in the document
    /// (a default, a missing key) is placed at the nearest thing that is.
    pub fn add(&mut self, path: impl Into<Path>, message: impl Into<String>) {
        self.push(path.into(), false, message.into());
    }

    /// Adds a problem at a mapping's key instead of its value: the key itself is what is wrong.
    pub fn add_at_key(&mut self, path: impl Into<Path>, message: impl Into<String>) {
        self.push(path.into(), true, message.into());
    }

    fn push(&mut self, path: Path, at_key: bool, message: String) {
        let path = match &self.copy {
            Some(copy) if copy.is_filled(&path) || copy.is_moved(&path) => return,
            Some(copy) => copy.written(&path),
            None => path,
        };
        self.found.push(Found {
            path,
            at_key,
            message,
        });
    }

    /// What a check adds about a repaired copy of the document; it is not kept.
    pub(crate) fn in_copy(&mut self, places: Places, check: impl FnOnce(&mut Self)) -> Vec<Found> {
        let before = self.found.len();
        self.copy = Some(places);
        check(self);
        self.copy = None;
        self.found.split_off(before)
    }

    pub(crate) fn extend(&mut self, found: Vec<Found>) {
        self.found.extend(found);
    }

    /// Adds a problem when `value` is out of `range`; works for numbers, [`super::Duration`] and [`super::ByteSize`].
    pub fn check_range<T: PartialOrd + fmt::Display>(
        &mut self,
        path: impl Into<Path>,
        value: &T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(value) {
            self.add(
                path,
                format!(
                    "{value} is out of range; {} to {} is allowed",
                    range.start(),
                    range.end()
                ),
            );
        }
    }

    /// `line:column` of a path: for messages that point at a second place.
    pub fn location(&self, path: impl Into<Path>) -> String {
        let path = path.into();
        let path = match &self.copy {
            Some(copy) => copy.written(&path),
            None => path,
        };
        let position = self.document.position(&path, false);
        format!("{}:{}", position.line, position.column)
    }

    /// Whether nothing is wrong so far; never while a repaired copy is checked.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_result(self, file: &str, hash: &str) -> Result<(), ConfigurationError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut problems: Vec<Problem> = self
            .found
            .into_iter()
            .map(|found| {
                let position = self.document.position(&found.path, found.at_key);
                Problem {
                    file: file.to_owned(),
                    line: position.line,
                    column: position.column,
                    path: found.path.to_string(),
                    message: found.message,
                }
            })
            .collect();
        problems.sort();
        problems.dedup();
        Err(ConfigurationError {
            problems,
            hash: Some(hash.to_owned()),
        })
    }
}
