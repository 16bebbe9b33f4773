//! The request for a factory reset and what is left of it afterwards, both files on the data partition.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ResetError;
use crate::disk::Disk;
use crate::document::Part;
use crate::places::{LAST_RESET, PRESERVE, RESET, below};

/// A factory reset that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetRequest {
    /// When, UTC (RFC 3339).
    pub requested: String,
    /// By what: `command`, `method`, `button …`, or a person's reason.
    pub reason: String,
    /// What outlives it.
    pub preserve: Vec<Part>,
    /// The files that outlive it, once it has begun: from then on this list decides, because what it was made of goes. Paths are the device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<Vec<PathBuf>>,
    /// Of a newer version, which may be the one that ends what this one began. A part to preserve that this one does not know is no such
    /// thing: without it too much would be removed.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

impl ResetRequest {
    /// Whether files are being removed already: then there is no way back.
    pub fn is_begun(&self) -> bool {
        self.kept.is_some()
    }

    pub(super) fn save(&self, disk: &Disk, root: &Path) -> Result<(), ResetError> {
        save(disk, root, RESET, self)
    }
}

/// What the last factory reset did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReset {
    /// The version of the program.
    pub version: String,
    /// When it was asked for, UTC (RFC 3339).
    pub requested: String,
    /// When it was complete, by the clock of that start, UTC (RFC 3339).
    pub completed: String,
    /// By what it was asked for.
    pub reason: String,
    /// What was to outlive it.
    pub preserve: Vec<Part>,
    /// The files that did. Paths are the device's.
    pub kept: Vec<PathBuf>,
}

impl LastReset {
    pub(super) fn save(&self, disk: &Disk, root: &Path) -> Result<(), ResetError> {
        save(disk, root, LAST_RESET, self)
    }
}

/// Asks for a factory reset of the device whose tree is below `root`. It is carried out by [`apply_reset`](super::apply_reset) at the next start.
/// A later request takes the place of one that has not begun.
///
/// # Errors
/// When one has begun already, or the data partition cannot be written.
pub fn request_reset(
    root: &Path,
    preserve: &[Part],
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), ResetError> {
    if pending_reset(root)?.is_some_and(|earlier| earlier.is_begun()) {
        return Err(ResetError::Begun(below(root, RESET)));
    }
    let mut preserve = preserve.to_vec();
    preserve.sort();
    preserve.dedup();
    let request = ResetRequest {
        requested: written(now),
        reason: reason.to_owned(),
        preserve,
        kept: None,
        other: Map::new(),
    };
    request.save(&Disk::default(), root)
}

/// The factory reset that is asked for and not complete.
///
/// # Errors
/// When the request cannot be read, or is damaged.
pub fn pending_reset(root: &Path) -> Result<Option<ResetRequest>, ResetError> {
    read(root, RESET)
}

/// What the last factory reset did; none where there was none.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn last_reset(root: &Path) -> Result<Option<LastReset>, ResetError> {
    read(root, LAST_RESET)
}

/// The preserve list that the provisioning file set; nothing where there is none.
///
/// # Errors
/// When it cannot be read, or has a word that is not known.
pub fn default_preserve(root: &Path) -> Result<Vec<Part>, ResetError> {
    let path = below(root, PRESERVE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ResetError::Disk { path, source }),
    };
    text.split_whitespace()
        .map(|word| {
            Part::named(word).ok_or_else(|| ResetError::Preserve {
                path: path.clone(),
                word: word.to_owned(),
            })
        })
        .collect()
}

pub(super) fn written(now: OffsetDateTime) -> String {
    // Fractions of a second tell nobody anything.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

fn read<T: DeserializeOwned>(root: &Path, place: &str) -> Result<Option<T>, ResetError> {
    let path = below(root, place);
    match fs::read_to_string(&path) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(found) => Ok(Some(found)),
            Err(_) => Err(ResetError::Damaged(path)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(ResetError::Damaged(path)),
        Err(source) => Err(ResetError::Disk { path, source }),
    }
}

fn save(disk: &Disk, root: &Path, place: &str, value: &impl Serialize) -> Result<(), ResetError> {
    let path = below(root, place);
    let written = serde_json::to_string_pretty(value)
        .map_err(std::io::Error::from)
        .and_then(|text| {
            if let Some(folder) = path.parent() {
                disk.folder(folder, 0o755)?;
            }
            disk.write(&path, format!("{text}\n").as_bytes(), 0o644)
        });
    written.map_err(|source| ResetError::Disk { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_a_newer_version_is_read_and_kept_unless_it_preserves_what_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = below(folder.path(), RESET);
        let newer = r#"{"requested": "2030-01-01T00:00:00Z", "reason": "method", "preserve": ["name"], "by": {"user": 7}}"#;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, newer).unwrap();
        let request = pending_reset(folder.path()).unwrap().unwrap();
        request.save(&Disk::default(), folder.path()).unwrap();
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&fs::read_to_string(&path).unwrap()), read(newer));
        fs::write(&path, newer.replace("\"name\"", "\"moon\"")).unwrap();
        assert!(matches!(
            pending_reset(folder.path()),
            Err(ResetError::Damaged(_))
        ));
    }
}
