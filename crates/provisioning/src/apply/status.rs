//! What the last provisioning file did: `status.json` on the data partition.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::disk::Disk;
use crate::places::{STATE, STATUS, below};

/// What the last provisioning file did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// When it came to this result, UTC (RFC 3339). The same result again does not change it.
    pub time: String,
    /// The result.
    pub result: Outcome,
    /// SHA-256 (hex) of the document without its secrets; none of one that did not hold.
    pub document_sha256: Option<String>,
    /// Where the document came from; none of one that an older version applied.
    #[serde(default)]
    pub source: Option<String>,
    /// What is wrong, a line each.
    pub errors: Vec<String>,
    /// The last document that the device has in full; none of one that an older version applied.
    #[serde(default)]
    pub in_force: Option<InForce>,
}

/// The document that the device is as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Since when, UTC (RFC 3339).
    pub time: String,
    /// Where it came from.
    pub source: String,
    /// SHA-256 (hex) of the document without its secrets.
    pub document_sha256: String,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The device is as the document says.
    Applied,
    /// The document does not hold; the device is as it was.
    Invalid,
    /// The document holds, and could not be brought onto the device in full.
    Failed,
    /// A word of a newer version. Never written.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// As the file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Unknown => "unknown to this version",
        }
    }
}

/// Why the status could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file could not be read.
    #[error("{}: {source}", .path.display())]
    Disk {
        /// On this machine.
        path: PathBuf,
        source: io::Error,
    },
    /// It is no status.
    #[error("{} is damaged; the next application writes it anew", .0.display())]
    Damaged(PathBuf),
}

impl Status {
    pub(crate) fn new(
        now: OffsetDateTime,
        result: Outcome,
        document_sha256: Option<&str>,
        source: &str,
        errors: Vec<String>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: now.format(&Rfc3339).unwrap_or_default(),
            result,
            document_sha256: document_sha256.map(str::to_owned),
            source: Some(source.to_owned()),
            errors,
            in_force: None,
        }
    }

    /// Reads the status of the device whose tree is below `root`; none where nothing was ever applied.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(root: &Path) -> Result<Option<Self>, StatusError> {
        let path = below(root, STATUS);
        match fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(status) => Ok(Some(status)),
                Err(_) => Err(StatusError::Damaged(path)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StatusError::Disk { path, source }),
        }
    }
}

/// Writes the status, unless it says this already. `is_in_force`: the device has the document in full, whatever else went wrong.
pub(crate) fn save_status(
    disk: &Disk,
    root: &Path,
    mut status: Status,
    is_in_force: bool,
) -> io::Result<()> {
    let old = Status::read(root).ok().flatten();
    status.in_force = old.as_ref().and_then(|old| old.in_force.clone());
    if is_in_force {
        let source = status.source.clone().unwrap_or_default();
        let document_sha256 = status.document_sha256.clone().unwrap_or_default();
        let same = status
            .in_force
            .filter(|known| known.source == source && known.document_sha256 == document_sha256);
        status.in_force = Some(same.unwrap_or_else(|| InForce {
            time: status.time.clone(),
            source,
            document_sha256,
        }));
    }
    if let Some(old) = old {
        let same = Status {
            time: old.time.clone(),
            ..status.clone()
        };
        if same == old {
            return Ok(());
        }
    }
    disk.folder(&below(root, STATE), 0o700)?;
    let mut text = serde_json::to_string_pretty(&status)?;
    text.push('\n');
    disk.write(&below(root, STATUS), text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_a_newer_version_is_none_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = below(folder.path(), STATUS);
        fs::create_dir_all(path.parent().unwrap_or(folder.path())).unwrap();
        fs::write(
            &path,
            r#"{"version": "9", "time": "2030-01-01T00:00:00Z", "result": "staged", "document_sha256": null, "errors": [], "warnings": ["x"]}"#,
        )
        .unwrap();
        let status = Status::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (status.version.as_str(), status.result),
            ("9", Outcome::Unknown)
        );
    }
}
