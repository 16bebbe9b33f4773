//! Why an update is not installed, each with its own exit status.

use std::path::PathBuf;

use semver::Version;
use thiserror::Error;

/// One variant per thing that somebody does something else about.
#[derive(Debug, Error)]
pub(crate) enum UpdateError {
    #[error(
        "{what} is not signed for this device: {reason}; take a bundle signed with the key this image trusts"
    )]
    WrongSignature { what: String, reason: String },
    #[error("{what} is for {found}, this device is {compatible}; take the bundle for {compatible}")]
    OtherHardware {
        what: String,
        found: String,
        compatible: String,
    },
    #[error(
        "version {found} is older than {running}, which runs; --allow-downgrade installs it all the same"
    )]
    Older { found: Version, running: Version },
    #[error(
        "{what} has the SHA-256 {found}, not {expected}: it was changed or replaced, or --sha256 is of another file"
    )]
    WrongHash {
        what: String,
        found: String,
        expected: String,
    },
    #[error("{what} is version {found}, not {expected} as --version says")]
    WrongVersion {
        what: String,
        found: Version,
        expected: Version,
    },
    #[error("another installation runs; wait for its end, `fieldgate update status` shows it")]
    Busy,
    #[error("this machine cannot be updated as a whole: {0}")]
    NotUpdatable(String),
    #[error("{what} is no bundle that can be installed: {reason}")]
    NoBundle { what: String, reason: String },
    #[error("no bundle for this device in {places}{}", list(.refused))]
    NothingFound {
        places: String,
        refused: Vec<String>,
    },
    #[error("{} has {free} MiB free, {needed} MiB are needed; make room, or install from a USB stick", .folder.display())]
    NoSpace {
        folder: PathBuf,
        free: u64,
        needed: u64,
    },
    #[error("{from}: {reason}")]
    Download { from: String, reason: String },
    #[error("rauc did not install it: {0}; the running system is untouched")]
    Failed(String),
    #[error(
        "the running system, slot {slot}, is not confirmed yet, and the other slot is what it would go back to; wait for its health check (`fieldgate update status`), or run it: fieldgate update gate"
    )]
    NotConfirmed { slot: String },
    #[error(
        "version {found} was tried and taken back{}; --reinstall tries it again", list(.reasons)
    )]
    TakenBack {
        found: Version,
        reasons: Vec<String>,
    },
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

impl UpdateError {
    /// For scripts; docs/operate/update.md lists them.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::WrongSignature { .. } => 10,
            Self::OtherHardware { .. } => 11,
            Self::Older { .. } => 12,
            Self::WrongHash { .. } => 13,
            Self::WrongVersion { .. } => 14,
            Self::Busy => 15,
            Self::NotUpdatable(_) => 16,
            Self::NoBundle { .. } => 17,
            Self::NothingFound { .. } => 18,
            Self::NoSpace { .. } => 19,
            Self::Download { .. } => 20,
            Self::Failed(_) => 21,
            Self::NotConfirmed { .. } => 22,
            Self::TakenBack { .. } => 23,
        }
    }
}
