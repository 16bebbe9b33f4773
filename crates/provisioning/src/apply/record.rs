//! The record of what was written: it tells our files from others'.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ApplyError;
use crate::disk::Disk;
use crate::places::{RECORD, below};

/// Paths are those of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) files: BTreeMap<PathBuf, Written>,
}

/// What a file held, as SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) content: String,
    /// What it held before, while an application runs: a power cut leaves either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
}

impl Record {
    /// An absent record is an empty one.
    pub(crate) fn load(root: &Path) -> Result<Self, ApplyError> {
        let path = below(root, RECORD);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|_| ApplyError::Record(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ApplyError::Disk { path, source }),
        }
    }

    pub(crate) fn save(&self, disk: &Disk, root: &Path) -> Result<(), ApplyError> {
        let path = below(root, RECORD);
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        disk.write(&path, text.as_bytes(), 0o600)
            .map_err(|source| ApplyError::Disk { path, source })
    }

    /// Whether a file's content is what we put there.
    pub(crate) fn knows(&self, path: &Path, content: &str) -> bool {
        self.files.get(path).is_some_and(|written| {
            written.content == content || written.before.as_deref() == Some(content)
        })
    }
}
