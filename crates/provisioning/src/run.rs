//! A provisioning file from beginning to end, in an order that may be cut off anywhere and repeated.

use std::io;
use std::path::Path;

use module_runtime::ConfigurationError;
use time::OffsetDateTime;

use crate::apply::{Applied, ApplyError, Outcome, Status, apply_with, save_status};
use crate::boot;
use crate::disk::Disk;
use crate::load::{Loaded, load};
use crate::medium::{WipeError, remove_errors, resume, wipe_with, write_errors};
use crate::plan::plan;
use crate::stored::Stored;

/// What became of a document that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The device's files.
    pub applied: Applied,
    /// Whether secrets were wiped from the medium.
    pub is_wiped: bool,
}

/// Why a document was not applied in full.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The document does not hold; nothing was done.
    #[error(transparent)]
    Invalid(#[from] ConfigurationError),
    /// The files could not be brought onto the device.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The device has everything, and the medium still has its secrets.
    #[error(transparent)]
    Wipe(#[from] WipeError),
    /// The device's state could not be read or written.
    #[error("the device's provisioning state: {0}; apply again when that is mended")]
    State(#[from] io::Error),
}

/// Applies a document to the device whose tree is below `root`: checks it, brings its files onto the device, wipes its secrets from the
/// medium, and keeps the result in the status and, where something is wrong, in a file beside the document.
///
/// # Errors
/// What kept it from being applied in full. The status and the file beside the document say it, too, where they can be written.
pub fn provision(
    document: &Path,
    root: &Path,
    now: OffsetDateTime,
) -> Result<Provisioned, ProvisionError> {
    provision_with(&Disk::default(), document, root, now)
}

/// As [`provision`], for a document of what somebody typed in: its file is of no interest.
///
/// # Errors
/// As [`provision`].
pub fn provision_typed_in(
    document: &Path,
    root: &Path,
    now: OffsetDateTime,
) -> Result<Provisioned, ProvisionError> {
    provision_as(&Disk::default(), document, root, now, "a terminal")
}

pub(crate) fn provision_with(
    disk: &Disk,
    document: &Path,
    root: &Path,
    now: OffsetDateTime,
) -> Result<Provisioned, ProvisionError> {
    provision_as(disk, document, root, now, &boot::source_of(document, root))
}

/// How far it came.
#[derive(Debug, Default)]
struct Progress {
    hash: Option<String>,
    /// The device's files are as the document says.
    is_in_force: bool,
}

fn provision_as(
    disk: &Disk,
    document: &Path,
    root: &Path,
    now: OffsetDateTime,
    source: &str,
) -> Result<Provisioned, ProvisionError> {
    let mut progress = Progress::default();
    let done = run(disk, document, root, source, &mut progress);
    let hash = progress.hash.as_deref();
    let status = |outcome, errors| Status::new(now, outcome, hash, source, errors);
    match &done {
        Ok(_) => {
            let status = status(Outcome::Applied, Vec::new());
            save_status(disk, root, status, true)?;
            // Of no weight: what it says is past.
            let _ = remove_errors(document);
        }
        Err(error) => {
            let errors: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
            let outcome = match error {
                ProvisionError::Invalid(_) => Outcome::Invalid,
                _ => Outcome::Failed,
            };
            // The error itself is what the caller is told; that neither can be written adds nothing to it.
            let _ = write_errors(document, &errors);
            let _ = save_status(disk, root, status(outcome, errors), progress.is_in_force);
        }
    }
    done
}

fn run(
    disk: &Disk,
    document: &Path,
    root: &Path,
    source: &str,
    progress: &mut Progress,
) -> Result<Provisioned, ProvisionError> {
    resume(disk, document, root)?;
    let stored = Stored::read(root)?;
    let loaded: Loaded = load(document, Some(&stored))?;
    progress.hash = Some(loaded.hash.clone());
    boot::begin(disk, document, root)?;
    let applied = apply_with(disk, &plan(&loaded), root)?;
    progress.is_in_force = true;
    // Cut off before this, the document of the boot partition makes the device whole again at the next start.
    boot::supersede(disk, document, root, source)?;
    let is_wiped = wipe_with(disk, &loaded, document, root)?;
    boot::keep(disk, &loaded, document, root)?;
    Ok(Provisioned { applied, is_wiped })
}

#[cfg(test)]
mod tests;
