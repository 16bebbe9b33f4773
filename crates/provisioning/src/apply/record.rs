//! The record of what was written: it tells our files from others'.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ApplyError;
use crate::disk::Disk;
use crate::places::{RECORD, below};

/// Paths are those of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) files: BTreeMap<PathBuf, Written>,
    /// Of a newer version: the data partition is the same for both, and what one does not know it keeps.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// What a file held, as SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) content: String,
    /// What it held before, while an application runs: a power cut leaves either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// Of a newer version.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;
    use crate::plan::PlannedFile;

    #[test]
    fn an_older_version_reads_and_keeps_what_a_newer_one_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let file = |path: &str, content: &str| PlannedFile {
            path: path.into(),
            content: content.to_owned(),
            mode: 0o600,
        };
        apply(&[file("/data/a", "1"), file("/data/b", "1")], root).unwrap();
        let read = || {
            let text = fs::read_to_string(below(root, RECORD)).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let mut newer = read();
        newer["schema"] = 2.into();
        newer["files"]["/data/a"]["owner"] = 7.into();
        newer["files"]["/data/b"]["owner"] = 8.into();
        fs::write(below(root, RECORD), newer.to_string()).unwrap();

        let applied = apply(&[file("/data/a", "1"), file("/data/b", "2")], root).unwrap();
        assert_eq!(applied.written, [Path::new("/data/b")]);
        let now = read();
        newer["files"]["/data/b"]["content"] = now["files"]["/data/b"]["content"].clone();
        assert_eq!(now, newer);
    }
}
