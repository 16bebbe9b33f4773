//! What goes into the queue and what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// The place of an item in the queue.
///
/// Counts up by one per accepted item, starts at 1, and is never used twice in the life of the queue's path: not after
/// the queue ran empty, not after a restart, not after a damaged file was replaced. A number that is missing between
/// two others was removed, dropped, or lost with a damaged row; [`QueueStats`](crate::QueueStats) counts which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before every item: [`Queue::read`](crate::Queue::read) after it starts at the oldest.
    pub const START: Self = Self(0);
    /// Behind every item.
    pub const END: Self = Self(u64::MAX);
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How much an item matters: 0 to 9, 9 the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 10;
    /// 0.
    pub const LOWEST: Self = Self(0);
    /// 5, that of an item that says nothing else.
    pub const DEFAULT: Self = Self(5);
    /// 9.
    pub const HIGHEST: Self = Self(9);

    /// None above 9.
    #[must_use]
    pub const fn new(priority: u8) -> Option<Self> {
        if priority <= Self::HIGHEST.0 {
            Some(Self(priority))
        } else {
            None
        }
    }

    /// 0 to 9.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// All of them, the highest first.
    pub fn descending() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..=Self::HIGHEST.0).rev().map(Self)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The name of the rule by which an item came, kept with it so that it can be counted. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route(Option<Arc<str>>);

impl Route {
    /// The name of the route of an item that says nothing else.
    pub const DEFAULT: &'static str = "default";
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// None if the name is empty or longer than [`Route::MAX_BYTES`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        match name {
            "" => None,
            Self::DEFAULT => Some(Self(None)),
            name if name.len() <= Self::MAX_BYTES => Some(Self(Some(name.into()))),
            _ => None,
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(Self::DEFAULT)
    }

    /// What the table keeps: nothing for the default.
    pub(crate) fn stored(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

/// An item to store. Key, id, properties and payload are opaque to the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewItem {
    /// Partition key.
    pub key: String,
    /// The event's id.
    pub id: String,
    /// Whatever the sender needs beside the payload, in an encoding of its own.
    pub properties: Bytes,
    /// The event.
    pub payload: Bytes,
    /// Which of the ten queues in the queue it goes into.
    pub priority: Priority,
    /// By which rule it came.
    pub route: Route,
    /// How long it is worth sending, in whole milliseconds, rounded up. None: for ever. Counted by a clock that never
    /// jumps: see docs/reference/queue.md, "Lifetime".
    pub lifetime: Option<Duration>,
}

impl NewItem {
    /// Bytes of key, id, properties and payload together: what bounds in this crate count, before the overhead of the file.
    pub fn size(&self) -> usize {
        self.key.len() + self.id.len() + self.properties.len() + self.payload.len()
    }
}

/// A stored item. Its checksums held when it was read.
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
    /// See [`NewItem::priority`].
    pub priority: Priority,
    /// See [`NewItem::route`].
    pub route: Route,
    /// See [`NewItem::lifetime`]: as it was given, not what is left of it.
    pub lifetime: Option<Duration>,
}

/// What a read of some keys gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the order of their sequence.
    pub items: Vec<StoredItem>,
    /// Nothing up to here is left to be read: the next read goes on after it. Never below where the read began, and never
    /// above the last number that the queue had given out.
    pub looked_to: Sequence,
}

impl StoredItem {
    /// Bytes of all parts together, as [`NewItem::size`].
    pub fn size(&self) -> usize {
        self.key.len() + self.id.len() + self.properties.len() + self.payload.len()
    }
}
