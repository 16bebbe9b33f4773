//! Takes the secrets off the medium: each is written over in its place by `<taken>` and blanks, so that no second copy is made, no space is
//! needed, and everything else stays byte for byte.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use k3s_manifest_gen::yaml::{Located, value_at};
use serde_json::Value;

use super::journal::Journal;
use crate::disk::Disk;
use crate::document::{TAKEN, is_taken};
use crate::load::Loaded;

/// Why secrets are still on the medium; the device has them by then.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// The medium, or the data partition, could not be written.
    #[error(
        "the secrets in {} could not be wiped ({source}); make the medium writable and apply again, or destroy it",
        .path.display()
    )]
    Disk {
        /// The document, on this machine.
        path: PathBuf,
        source: io::Error,
    },
    /// The document writes a secret in a way that cannot be replaced in its place.
    #[error(
        "the secrets in {} could not be wiped: {reason}; replace each by {TAKEN} yourself",
        .path.display()
    )]
    Form {
        /// The document, on this machine.
        path: PathBuf,
        /// Which, and why.
        reason: String,
    },
}

/// Wipes the secrets of a document, and the files beside it that hold some, after the device below `root` has taken them over. A document
/// without secrets is left alone. Says whether anything was wiped.
///
/// # Errors
/// When they could not be wiped.
pub fn wipe(loaded: &Loaded, document: &Path, root: &Path) -> Result<bool, WipeError> {
    wipe_with(&Disk::default(), loaded, document, root)
}

pub(crate) fn wipe_with(
    disk: &Disk,
    loaded: &Loaded,
    document: &Path,
    root: &Path,
) -> Result<bool, WipeError> {
    let fail = |source| WipeError::Disk {
        path: document.to_owned(),
        source,
    };
    let bytes = std::fs::read(document).map_err(fail)?;
    let text = String::from_utf8(bytes).map_err(|error| fail(io::Error::other(error)))?;
    if text.trim_start_matches('\u{feff}') != loaded.text {
        return Err(fail(io::Error::other("it was changed meanwhile")));
    }
    let journal = journal(loaded, &text, document)?;
    if journal.is_empty() {
        return Ok(false);
    }
    journal.save(disk, root).map_err(fail)?;
    journal.carry_out(disk, document).map_err(fail)?;
    Journal::remove(disk, root).map_err(fail)?;
    Ok(true)
}

/// Finishes a wiping that was cut off, if the document is the one.
pub(crate) fn resume(disk: &Disk, document: &Path, root: &Path) -> Result<(), WipeError> {
    let fail = |source| WipeError::Disk {
        path: document.to_owned(),
        source,
    };
    let Some(journal) = Journal::load(root).map_err(fail)? else {
        return Ok(());
    };
    let is_named = document
        .file_name()
        .is_some_and(|name| name.to_string_lossy() == journal.name);
    let Ok(found) = std::fs::read(document) else {
        return Ok(());
    };
    if is_named && journal.is_of(&found) {
        journal.carry_out(disk, document).map_err(fail)?;
    }
    Journal::remove(disk, root).map_err(fail)
}

/// What is to be written over, and with what.
fn journal(loaded: &Loaded, text: &str, document: &Path) -> Result<Journal, WipeError> {
    let form = |reason: String| WipeError::Form {
        path: document.to_owned(),
        reason,
    };
    let mark = text.len() - loaded.text.len();
    let mut wiped = text.as_bytes().to_vec();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for path in &loaded.secrets.written {
        let part = loaded
            .located
            .characters(path)
            .and_then(|characters| bytes_of(&loaded.text, &characters))
            .ok_or_else(|| form(format!("{path} has no place of its own")))?;
        let part = part.start + mark..part.end + mark;
        let place = wiped.get_mut(part.clone()).unwrap_or_default();
        let word = match place.first() {
            Some(quote @ (b'"' | b'\'')) => {
                let quote = char::from(*quote);
                format!("{quote}{TAKEN}{quote}")
            }
            _ => TAKEN.to_owned(),
        };
        if place.len() < word.len() {
            return Err(form(format!("{path} is shorter than {TAKEN}")));
        }
        place.fill(b' ');
        if let Some(begin) = place.get_mut(..word.len()) {
            begin.copy_from_slice(word.as_bytes());
        }
        // Two aliases of one anchor are one place.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let whole = |wiped: &[u8]| String::from_utf8(wiped.to_vec()).ok();
    let Some(mut replaced) = whole(&wiped).filter(|text| is_same_but_taken(loaded, text)) else {
        return Err(form(
            "the document would not say the same without them".to_owned(),
        ));
    };
    // A secret may stand a second time: in a comment, for example.
    for secret in loaded.secrets.values().flat_map(str::lines) {
        for start in occurrences(&replaced, secret) {
            let part = start..start + secret.len();
            let mut masked = replaced.clone().into_bytes();
            masked.get_mut(part.clone()).unwrap_or_default().fill(b'*');
            if let Some(masked) = whole(&masked).filter(|text| is_same_but_taken(loaded, text)) {
                replaced = masked;
                parts.push(part);
            }
        }
    }
    let name = document.file_name().unwrap_or_default();
    Ok(Journal {
        name: name.to_string_lossy().into_owned(),
        document: replaced,
        parts,
        files: loaded.secrets.files.clone(),
    })
}

/// The bytes of a text or number whose characters the parser gave: they may go on after its end, up to what follows.
fn bytes_of(text: &str, characters: &Range<usize>) -> Option<Range<usize>> {
    let mut offsets = text
        .char_indices()
        .map(|(offset, _)| offset)
        .chain([text.len()]);
    let start = offsets.nth(characters.start)?;
    let end = match characters.len().checked_sub(1) {
        Some(more) => offsets.nth(more)?,
        None => start,
    };
    let written = text.get(start..end)?;
    let length = match written.as_bytes().first()? {
        b'"' => closing(written, '"', '\\')?,
        b'\'' => closing(written, '\'', '\'')?,
        _ => written.trim_end().len(),
    };
    Some(start..start + length)
}

/// The length of a quoted text up to its closing quote; after `escape`, a quote or another one belongs to the text.
fn closing(written: &str, quote: char, escape: char) -> Option<usize> {
    let mut letters = written.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        if letter == escape && (escape != quote || next == Some(quote)) {
            letters.next();
        } else if letter == quote {
            return Some(at + 1);
        }
    }
    None
}

fn occurrences(text: &str, part: &str) -> Vec<usize> {
    // Short lines, such as those of a key file's frame, are in many places.
    if part.len() < 8 || part.starts_with("-----") {
        return Vec::new();
    }
    text.match_indices(part).map(|(start, _)| start).collect()
}

/// Whether a text says what the document says, but for its secrets, which are taken.
fn is_same_but_taken(loaded: &Loaded, text: &str) -> bool {
    let Ok(wiped) = Located::parse("", text.trim_start_matches('\u{feff}')) else {
        return false;
    };
    let secrets: Vec<String> = loaded
        .secrets
        .written
        .iter()
        .map(ToString::to_string)
        .collect();
    let are_taken = loaded.secrets.written.iter().all(|path| {
        value_at(wiped.value(), path)
            .and_then(Value::as_str)
            .is_some_and(is_taken)
    });
    are_taken
        && is_same(
            &loaded.value,
            wiped.value(),
            &module_runtime::configuration::Path::root(),
            &secrets,
        )
}

fn is_same(
    one: &Value,
    other: &Value,
    at: &module_runtime::configuration::Path,
    secrets: &[String],
) -> bool {
    if secrets.contains(&at.to_string()) {
        return true;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    other
                        .get(key)
                        .is_some_and(|other| is_same(value, other, &at.join(key), secrets))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .enumerate()
                    .all(|(index, (one, other))| is_same(one, other, &at.join(index), secrets))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
