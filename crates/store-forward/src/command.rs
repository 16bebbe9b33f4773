//! What the handles ask of the queue's thread.

use std::ops::RangeInclusive;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{AppendError, QueueError};
use crate::item::{Found, NewItem, Sequence};
use crate::read::Selection;

pub(crate) type AppendReply = oneshot::Sender<Result<Vec<Sequence>, AppendError>>;
pub(crate) type RemoveReply = oneshot::Sender<Result<(), QueueError>>;
pub(crate) type PurgeReply = oneshot::Sender<Result<u64, QueueError>>;
pub(crate) type ReadReply = oneshot::Sender<Result<Found, QueueError>>;

#[derive(Debug)]
pub(crate) enum Command {
    Write(Write),
    Read {
        selection: Selection,
        reply: ReadReply,
    },
    /// The wall clock is right.
    Clock,
    Close {
        /// For the next opening.
        note: Option<Bytes>,
        reply: RemoveReply,
    },
    #[cfg(test)]
    Tamper(Tamper),
}

/// A change, and who waits for it.
///
/// The time is the system's own, not tokio's: the queue's thread has a clock of its own, and a test that pauses the
/// caller's must not stop it.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) work: Work,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) enum Work {
    Append {
        items: Vec<NewItem>,
        reply: AppendReply,
    },
    Remove {
        ranges: Vec<RangeInclusive<u64>>,
        reply: RemoveReply,
    },
    /// Removes what nobody has sent.
    Purge {
        ranges: Vec<RangeInclusive<u64>>,
        reply: PurgeReply,
    },
    /// Changes nothing that anybody reads.
    Trial { reply: RemoveReply },
}

/// A test's way to the store behind the handle.
#[cfg(test)]
pub(crate) struct Tamper(pub(crate) Box<dyn FnOnce(&mut crate::store::Store) + Send>);

#[cfg(test)]
impl std::fmt::Debug for Tamper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tamper")
    }
}
