//! What SQLite says, sorted by what the queue does about it.

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_DATA, SQLITE_IOERR_READ};

use crate::error::{AppendError, QueueError};

/// Why the store could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file's content is not what was written: it has to be set aside.
    Damaged(String),
    /// There is no room: on the disk, or below the bound of the file's pages.
    Full,
    /// The file reached the bound of its pages although an estimate said that there was room.
    AtBound,
    /// Another process holds the file.
    Busy,
    /// A newer release wrote the file, and no way leads back.
    Newer { found: u32, reason: String },
    /// Disk full, input/output error, no permission.
    Storage { reason: String, retryable: bool },
}

impl Fault {
    pub(crate) fn storage(reason: impl Into<String>) -> Self {
        Self::Storage {
            reason: reason.into(),
            retryable: true,
        }
    }

    fn into_parts(self) -> (String, bool) {
        match self {
            Self::Damaged(reason) => (format!("the file is damaged: {reason}"), true),
            Self::Full => ("the disk is full".to_owned(), true),
            Self::AtBound => ("the file is at its bound".to_owned(), true),
            Self::Busy => ("the file is in use by another process".to_owned(), true),
            Self::Newer { found, reason } => (
                format!(
                    "the file has schema version {found}, which this release does not know, and {reason}"
                ),
                false,
            ),
            Self::Storage { reason, retryable } => (reason, retryable),
        }
    }

    pub(crate) fn message(&self) -> String {
        self.clone().into_parts().0
    }
}

impl From<Fault> for AppendError {
    fn from(fault: Fault) -> Self {
        let (reason, retryable) = fault.into_parts();
        Self::Storage { reason, retryable }
    }
}

impl From<Fault> for QueueError {
    fn from(fault: Fault) -> Self {
        let (reason, retryable) = fault.into_parts();
        Self::Storage { reason, retryable }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::storage(error.to_string())
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        let Some(code) = error.sqlite_error_code() else {
            // A value of another type than the schema allows, a row that must be there and is not.
            return Self::Damaged(reason);
        };
        match code {
            // Unknown is SQLITE_ERROR: our statements are right, so the schema is not. A number that exists already
            // violates a constraint: the end of the table is not where it was.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::SchemaChanged
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch => Self::Damaged(reason),
            // A block that the disk cannot read (any more, which the system calls EIO and SQLite CORRUPTFS) would otherwise
            // stop the queue for good.
            ErrorCode::SystemIoFailure
                if matches!(
                    error.sqlite_extended_error_code(),
                    Some(SQLITE_IOERR_READ | SQLITE_IOERR_DATA | SQLITE_IOERR_CORRUPTFS)
                ) =>
            {
                Self::Damaged(reason)
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory => Self::Storage {
                reason,
                retryable: true,
            },
            _ => Self::Storage {
                reason,
                retryable: false,
            },
        }
    }
}
