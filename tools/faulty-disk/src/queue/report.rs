//! What a worker says on its standard output, one JSON object a line.

use serde::{Deserialize, Serialize};

/// A line of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The queue is open.
    Opened,
    /// It is not, and why.
    CannotOpen(String),
    /// The queue acknowledged an append.
    Stored {
        /// Numbers of the items, in their order.
        ids: Vec<u64>,
        /// Where they are.
        sequences: Vec<u64>,
    },
    /// These are about to be removed.
    Removing(Vec<u64>),
    /// The queue acknowledged that these are removed.
    Removed(Vec<u64>),
    /// The queue's storage failed: on a disk without power everything does.
    Failed(String),
}
