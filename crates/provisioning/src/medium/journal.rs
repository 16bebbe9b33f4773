//! What is to be wiped from a medium, kept on the data partition until it is done: a power cut in the middle of a sector leaves a document
//! that is neither the one before nor the one after. It holds no secret.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::places::{STATE, WIPE, below};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The document's file name.
    pub(super) name: String,
    /// The whole document as it will be.
    pub(super) document: String,
    /// The bytes of it that are written over.
    pub(super) parts: Vec<Range<usize>>,
    /// Files beside it that are written over and removed.
    pub(super) files: Vec<String>,
}

impl Journal {
    pub(super) fn load(root: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(below(root, WIPE)) {
            // One that is damaged is of no use, and the document is looked at as it is.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn save(&self, disk: &Disk, root: &Path) -> io::Result<()> {
        disk.folder(&below(root, STATE), 0o700)?;
        let text = serde_json::to_string(self)?;
        disk.write(&below(root, WIPE), text.as_bytes(), 0o600)
    }

    pub(super) fn remove(disk: &Disk, root: &Path) -> io::Result<()> {
        disk.clear_temporary(&below(root, WIPE))?;
        disk.remove(&below(root, WIPE))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.files.is_empty()
    }

    /// Whether a document is the one that is to be wiped, or what a cut left of it.
    pub(super) fn is_of(&self, document: &[u8]) -> bool {
        let wiped = self.document.as_bytes();
        document.len() == wiped.len()
            && document
                .iter()
                .zip(wiped)
                .enumerate()
                .all(|(index, (found, wanted))| {
                    found == wanted || self.parts.iter().any(|part| part.contains(&index))
                })
    }

    /// Writes over the secrets; may be repeated.
    pub(super) fn carry_out(&self, disk: &Disk, document: &Path) -> io::Result<()> {
        for name in &self.files {
            let file = document.with_file_name(name);
            let Ok(found) = fs::metadata(&file) else {
                continue;
            };
            let zeros = vec![0; usize::try_from(found.len()).unwrap_or_default()];
            disk.overwrite(&file, &[(0, &zeros)])?;
            disk.remove(&file)?;
        }
        let bytes = self.document.as_bytes();
        let mut parts: Vec<(u64, &[u8])> = self
            .parts
            .iter()
            .filter_map(|part| Some((part.start as u64, bytes.get(part.clone())?)))
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        // Forwards only: a driver of a medium has been seen that loses a step back.
        parts.sort_unstable_by_key(|(start, _)| *start);
        disk.overwrite(document, &parts)?;
        if fs::read(document)? != bytes {
            return Err(io::Error::other("the medium does not keep what is written"));
        }
        Ok(())
    }
}
