//! Brings planned files onto a device: writes what differs, removes what an earlier document made, touches nothing else.

mod record;
mod status;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use module_runtime::configuration::sha256;

pub use status::{InForce, Outcome, Status, StatusError};

pub(crate) use record::{Record, Written};
pub(crate) use status::save_status;

use crate::disk::Disk;
use crate::places::{SECRETS, STATE, below};
use crate::plan::PlannedFile;

/// What an application did. Paths are those of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Written anew or changed.
    pub written: Vec<PathBuf>,
    /// Made by an earlier document, and removed.
    pub removed: Vec<PathBuf>,
    /// Edited by somebody since they were written, and left as they are.
    pub edited: Vec<PathBuf>,
}

impl Applied {
    /// Whether nothing was done.
    pub fn is_unchanged(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// Why files could not be brought onto the device. It may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was written.
    #[error(
        "these files are not from a provisioning file, or were edited since, and nothing was written: {}; move them away, and apply again",
        list(.0)
    )]
    Foreign(Vec<PathBuf>),
    /// The record of earlier applications.
    #[error("{} is damaged; move it away, then what was written before counts as not ours", .0.display())]
    Record(PathBuf),
    /// A file or folder could not be read or written.
    #[error("{}: {source}; apply again when that is mended", .path.display())]
    Disk {
        /// On this machine.
        path: PathBuf,
        source: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// How a planned file compares with what is there.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Same,
    /// Absent, or ours from another document; with the content that is there.
    Differs(Option<String>),
    /// Ours, edited since, and the document says nothing new.
    Edited,
    Foreign,
}

/// Brings the files onto the device whose tree is below `root`. Applied again, the same files change nothing. May be cut off anywhere and
/// repeated, with these files or others.
///
/// # Errors
/// When a file is in the way that is not ours, before anything is written; or when the disk fails.
pub fn apply(files: &[PlannedFile], root: &Path) -> Result<Applied, ApplyError> {
    apply_with(&Disk::default(), files, root)
}

pub(crate) fn apply_with(
    disk: &Disk,
    files: &[PlannedFile],
    root: &Path,
) -> Result<Applied, ApplyError> {
    let old = Record::load(root)?;
    let mut applied = Applied::default();
    let mut foreign = Vec::new();
    // What is recorded while this runs: whatever is there then is known as ours.
    let mut record = old.clone();
    let mut last = Record {
        files: BTreeMap::new(),
        other: old.other.clone(),
    };
    let mut to_write = Vec::new();
    for file in files {
        let content = sha256(file.content.as_bytes());
        let before = match state(file, &content, &old, root)? {
            State::Foreign => {
                foreign.push(file.path.clone());
                continue;
            }
            State::Edited => {
                applied.edited.push(file.path.clone());
                last.files
                    .extend(old.files.get_key_value(&file.path).map(cloned));
                continue;
            }
            State::Same if !old.files.contains_key(&file.path) => continue,
            State::Same => None,
            State::Differs(before) => {
                to_write.push(file);
                before
            }
        };
        let other = old.files.get(&file.path).map(|known| known.other.clone());
        let written = Written {
            content,
            before,
            other: other.unwrap_or_default(),
        };
        record.files.insert(file.path.clone(), written.clone());
        let written = Written {
            before: None,
            ..written
        };
        last.files.insert(file.path.clone(), written);
    }
    if !foreign.is_empty() {
        return Err(ApplyError::Foreign(foreign));
    }
    let gone: Vec<PathBuf> = old
        .files
        .keys()
        .filter(|path| !files.iter().any(|file| file.path == **path))
        .cloned()
        .collect();
    if to_write.is_empty() && last == old {
        return Ok(applied);
    }

    let at = |path: &Path, done: io::Result<()>| {
        done.map_err(|source| ApplyError::Disk {
            path: path.to_owned(),
            source,
        })
    };
    for folder in [STATE, SECRETS] {
        let folder = below(root, folder);
        at(&folder, disk.folder(&folder, 0o700))?;
    }
    record.save(disk, root)?;
    for file in to_write {
        let path = below(root, &file.path);
        if let Some(folder) = path.parent() {
            at(folder, disk.folder(folder, 0o755))?;
        }
        at(&path, disk.write(&path, file.content.as_bytes(), file.mode))?;
        applied.written.push(file.path.clone());
    }
    for path in gone {
        let here = below(root, &path);
        at(&here, disk.clear_temporary(&here))?;
        match content_of(&here)? {
            None => {}
            Some(found) if old.knows(&path, &found) => {
                at(&here, disk.remove(&here))?;
                applied.removed.push(path);
            }
            Some(_) => applied.edited.push(path),
        }
    }
    last.save(disk, root)?;
    Ok(applied)
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn state(
    file: &PlannedFile,
    content: &str,
    record: &Record,
    root: &Path,
) -> Result<State, ApplyError> {
    let path = below(root, &file.path);
    let Some(found) = content_of(&path)? else {
        return Ok(State::Differs(None));
    };
    let is_ours = record.knows(&file.path, &found);
    if found == content {
        let mode = fs::metadata(&path).map(|found| found.permissions().mode() & 0o7777);
        let differs = is_ours && mode.is_ok_and(|mode| mode != file.mode);
        return Ok(if differs {
            State::Differs(Some(found))
        } else {
            State::Same
        });
    }
    let recorded = record.files.get(&file.path);
    Ok(if is_ours {
        State::Differs(Some(found))
    } else if recorded.is_some_and(|written| written.content == content) {
        State::Edited
    } else {
        State::Foreign
    })
}

/// The SHA-256 of what is at a path of this process; of what is no file, a word that no file has.
fn content_of(path: &Path) -> Result<Option<String>, ApplyError> {
    let fail = |source| ApplyError::Disk {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(sha256(&fs::read(path).map_err(fail)?))),
        Ok(_) => Ok(Some("no file".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

#[cfg(test)]
mod tests;
