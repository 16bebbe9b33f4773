//! The factory reset: asked for while the device runs, carried out at its next start, before anything uses the data partition.
//!
//! The files that outlive it are listed once, in the request itself and before anything is removed. So a reset that was cut off goes on by the
//! same list, those files are never touched, and the request is the last to go.

mod keep;
mod remove;
mod request;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use module_runtime::configuration::sha256;
use time::OffsetDateTime;

pub use keep::kept_files;
pub use request::{
    LastReset, ResetRequest, default_preserve, last_reset, pending_reset, request_reset,
};

use crate::apply::{ApplyError, Record, Written};
use crate::disk::Disk;
use crate::places::{DAMAGED_RESET, DATA, PRESERVE, RECORD, RESET, STATE, below};
use crate::plan::part_of;
use remove::Removal;
use request::written;

/// Why a factory reset could not be asked for or carried out.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A file of the reset is none.
    #[error("{} is damaged, and nothing was done; remove it, and ask for the reset again if you want one", .0.display())]
    Damaged(PathBuf),
    /// The request is none, and is out of the way now.
    #[error(
        "{} was damaged, and nothing was removed; it is {} now. Ask for the reset again if you want one",
        .request.display(),
        .aside.display()
    )]
    SetAside {
        /// On this machine, both.
        request: PathBuf,
        aside: PathBuf,
    },
    /// Files are being removed already.
    #[error("a factory reset has begun ({}); restart the device to complete it", .0.display())]
    Begun(PathBuf),
    /// The preserve list of the device.
    #[error(
        "{} has the word {word:?}, which is none of network, name, hub, modules, ssh; say what to keep with --preserve",
        .path.display()
    )]
    Preserve {
        /// On this machine.
        path: PathBuf,
        /// The word.
        word: String,
    },
    /// Something is mounted below the data partition, so it is in use.
    #[error("{} is mounted, so the data partition is in use; restart the device, a reset is carried out at its start", .0.display())]
    Mounted(PathBuf),
    /// A file or folder could not be read or written.
    #[error("{}: {source}; the reset goes on at the next start", .path.display())]
    Disk {
        /// On this machine.
        path: PathBuf,
        source: io::Error,
    },
}

/// Carries out the factory reset that was asked for on the device whose tree is below `root`; none where none was. May be cut off anywhere
/// and repeated; nothing else may use the data partition meanwhile.
///
/// # Errors
/// When the request is damaged: it is set aside, and nothing is removed; or when the disk fails.
pub fn apply_reset(root: &Path, now: OffsetDateTime) -> Result<Option<LastReset>, ResetError> {
    apply_reset_with(&Disk::default(), root, now)
}

fn apply_reset_with(
    disk: &Disk,
    root: &Path,
    now: OffsetDateTime,
) -> Result<Option<LastReset>, ResetError> {
    let mut request = match pending_reset(root) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(None),
        Err(ResetError::Damaged(path)) => return Err(set_aside(disk, root, path)),
        Err(other) => return Err(other),
    };
    let kept = match request.kept.clone() {
        Some(kept) => kept,
        None => {
            let kept = kept_files(root, &request.preserve)?;
            request.kept = Some(kept.clone());
            request.save(disk, root)?;
            kept
        }
    };
    let record = record_of(&kept, root)?;
    let has_record = !record.files.is_empty();
    if has_record {
        save_record(disk, &record, root)?;
    }
    let keep = kept
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new(RESET)])
        .chain(has_record.then_some(Path::new(RECORD)))
        .map(Path::to_owned);
    Removal::new(disk, root, DATA, keep)?.run()?;
    let last = LastReset {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        requested: request.requested,
        completed: written(now),
        reason: request.reason,
        preserve: request.preserve,
        kept,
    };
    last.save(disk, root)?;
    let path = below(root, RESET);
    disk.remove(&path)
        .map_err(|source| ResetError::Disk { path, source })?;
    Ok(Some(last))
}

/// Puts a request that cannot be read out of the way: the device would otherwise be kept from its work at every start.
fn set_aside(disk: &Disk, root: &Path, request: PathBuf) -> ResetError {
    let aside = below(root, DAMAGED_RESET);
    let done = disk
        .rename(&request, &aside)
        .and_then(|()| disk.sync(&below(root, DATA)));
    match done {
        Ok(()) => ResetError::SetAside { request, aside },
        Err(source) => ResetError::Disk {
            path: request,
            source,
        },
    }
}

/// What is left of provisioned files, all of it ours, whoever edited it: a later document replaces or removes it.
fn record_of(kept: &[PathBuf], root: &Path) -> Result<Record, ResetError> {
    let mut record = Record::default();
    for path in kept {
        if part_of(path).is_none() && path != Path::new(PRESERVE) {
            continue;
        }
        let here = below(root, path);
        let content = match fs::read(&here) {
            Ok(content) => sha256(&content),
            // A check of the file system between two runs took it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(ResetError::Disk { path: here, source }),
        };
        let written = Written {
            content,
            ..Written::default()
        };
        record.files.insert(path.clone(), written);
    }
    Ok(record)
}

fn save_record(disk: &Disk, record: &Record, root: &Path) -> Result<(), ResetError> {
    let state = below(root, STATE);
    disk.folder(&state, 0o700)
        .map_err(|source| ResetError::Disk {
            path: state,
            source,
        })?;
    record.save(disk, root).map_err(|error| match error {
        ApplyError::Disk { path, source } => ResetError::Disk { path, source },
        other => ResetError::Disk {
            path: below(root, RECORD),
            source: io::Error::other(other.to_string()),
        },
    })
}

#[cfg(test)]
mod tests;
