//! What goes into the queue and what comes out.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

/// The place of an item in the queue.
///
/// Counts up by one per accepted item, starts at 1, and is never used twice in the life of the queue's path: not after
/// the queue ran empty, not after a restart, not after a damaged file was replaced. A number that is missing between
/// two others was removed, dropped by a bound, or lost with a damaged row; [`QueueStats`](crate::QueueStats) counts which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before every item: [`Queue::read`](crate::Queue::read) after it starts at the oldest.
    pub const START: Self = Self(0);
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An item to store. All parts are opaque to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// Partition key.
    pub key: String,
    /// The event's id.
    pub id: String,
    /// Whatever the sender needs beside the payload, in an encoding of its own.
    pub properties: Bytes,
    /// The event.
    pub payload: Bytes,
}

impl NewItem {
    /// Bytes of all parts together: what bounds in this crate count, before the overhead of the file.
    pub fn size(&self) -> usize {
        self.key.len() + self.id.len() + self.properties.len() + self.payload.len()
    }
}

/// A stored item. Its checksum held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// Its place in the queue.
    pub sequence: Sequence,
    /// When it was taken in, by the clock of this machine, in whole microseconds.
    pub enqueued: SystemTime,
    /// Partition key.
    pub key: String,
    /// The event's id.
    pub id: String,
    /// See [`NewItem::properties`].
    pub properties: Bytes,
    /// The event.
    pub payload: Bytes,
}

impl StoredItem {
    /// Bytes of all parts together, as [`NewItem::size`].
    pub fn size(&self) -> usize {
        self.key.len() + self.id.len() + self.properties.len() + self.payload.len()
    }
}
