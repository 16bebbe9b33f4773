//! What can go wrong, one variant for each thing a caller can do something about.

use std::path::PathBuf;

/// Why a queue could not be opened. Damage is not among them: a damaged file is set aside and a fresh one opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is outside its range.
    #[error("queue {}: {option} {reason}", path.display())]
    Option {
        /// The queue's file.
        path: PathBuf,
        /// Name of the option.
        option: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// Another process, or another handle in this one, has the file open.
    #[error("queue {}: the file is in use by another process; stop it, or give this queue another path", path.display())]
    InUse {
        /// The queue's file.
        path: PathBuf,
    },
    /// The file was written by a newer release, and no way leads back. It is left as it is.
    #[error(
        "queue {0}: the file has schema version {found}, this release knows up to {known}, and {reason}; install the newer release again, or move the file away, together with {0}-wal: the items stay in them",
        path.display()
    )]
    NewerSchema {
        /// The queue's file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// The newest version that this release knows.
        known: u32,
        /// What is the matter with the way back that the file carries.
        reason: String,
    },
    /// The file or its folder cannot be created, read or written.
    #[error("queue {}: {reason}; check that the folder exists, is writable and has free space", path.display())]
    Storage {
        /// The queue's file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Why items were not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is at its bound and its policy is [`WhenFull::Reject`](crate::WhenFull::Reject). Nothing was stored.
    /// Try again when items have been removed.
    #[error("the queue is full; try again when items have left it, or raise its max_bytes")]
    Full,
    /// One item is larger than this queue can hold at all. Nothing was stored. Trying again does not help.
    #[error(
        "item {id} has {bytes} bytes, the queue takes up to {limit}; raise the queue's max_bytes or send less"
    )]
    TooLarge {
        /// Id of the item.
        id: String,
        /// Its size, see [`NewItem::size`](crate::NewItem::size).
        bytes: usize,
        /// The largest item that the queue takes.
        limit: usize,
    },
    /// The disk is full or failed. Nothing of this group was acknowledged. The queue goes on by itself once the disk does.
    #[error("the queue's storage failed: {reason}")]
    Storage {
        /// What the storage said.
        reason: String,
        /// Whether the same append can succeed later.
        retryable: bool,
    },
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl AppendError {
    /// Whether the same append can succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Storage { retryable, .. } => *retryable,
            Self::TooLarge { .. } | Self::Closed => false,
        }
    }
}

/// Why a read, a removal or a close failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The disk is full or failed.
    #[error("the queue's storage failed: {reason}")]
    Storage {
        /// What the storage said.
        reason: String,
        /// Whether the same call can succeed later.
        retryable: bool,
    },
    /// The note is longer than this queue takes. Nothing of it is stored; the queue was closed.
    #[error(
        "the note for the next opening has {bytes} bytes, the queue takes up to {limit}; raise the queue's max_bytes or leave less"
    )]
    NoteTooLong {
        /// Its length.
        bytes: usize,
        /// The longest that the queue takes.
        limit: usize,
    },
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl QueueError {
    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { retryable, .. } => *retryable,
            Self::NoteTooLong { .. } | Self::Closed => false,
        }
    }
}
