//! A row of a table and its checksums.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::item::{NewItem, Priority, Route, Sequence, StoredItem};
use crate::schema::COLUMNS;

/// `enqueued` of the row that only keeps the last sequence number in the table, when that item is gone already.
pub(crate) const MARK: i64 = -1;

/// A statement for the table of each priority, in their order.
macro_rules! per_priority {
    ($before:expr, $after:expr) => {
        [
            concat!($before, "item_0", $after),
            concat!($before, "item_1", $after),
            concat!($before, "item_2", $after),
            concat!($before, "item_3", $after),
            concat!($before, "item_4", $after),
            concat!($before, "item", $after),
            concat!($before, "item_6", $after),
            concat!($before, "item_7", $after),
            concat!($before, "item_8", $after),
            concat!($before, "item_9", $after),
        ]
    };
}
pub(crate) use per_priority;

/// Rows after a number and up to another, with the columns that [`Row::decode`] reads in its order.
pub(crate) const ROWS: [&str; Priority::COUNT] = per_priority!(
    "SELECT sequence, enqueued, checksum, key, id, properties, payload, route, lifetime, expires, seal FROM ",
    " WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence"
);

/// Keys of rows after a number and up to another. Reads no overflow pages, unless a key has them.
pub(crate) const KEYS: [&str; Priority::COUNT] = per_priority!(
    "SELECT sequence, key FROM ",
    " WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence"
);

/// Size of an item in SQL. Does not read overflow pages.
macro_rules! size {
    () => {
        "octet_length(key) + octet_length(id) + octet_length(properties) + octet_length(payload)"
    };
}
pub(crate) use size;

/// A text, or None for anything else.
pub(crate) fn text(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// How an item is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms<'a> {
    pub(crate) priority: Priority,
    /// None: the default.
    pub(crate) route: Option<&'a str>,
    /// Milliseconds.
    pub(crate) lifetime: Option<i64>,
    /// Milliseconds of the queue's time; there with `lifetime`.
    pub(crate) expires: Option<i64>,
}

impl<'a> Terms<'a> {
    /// Those of an item that says nothing, and of every item of version 1. They are not stored.
    pub(crate) const PLAIN: Self = Self {
        priority: Priority::DEFAULT,
        route: None,
        lifetime: None,
        expires: None,
    };

    /// Those of an item that is taken in at a moment of the queue's time.
    pub(crate) fn new(item: &'a NewItem, queue: i64) -> Self {
        let lifetime = item.lifetime.map(|lifetime| {
            let up = Duration::from_nanos(999_999);
            i64::try_from(lifetime.saturating_add(up).as_millis()).unwrap_or(i64::MAX)
        });
        Self {
            priority: item.priority,
            route: item.route.stored(),
            lifetime,
            expires: lifetime.map(|lifetime| queue.saturating_add(lifetime)),
        }
    }

    /// CRC-32 of the terms and of which row they belong to. None for plain ones.
    pub(crate) fn seal(&self, sequence: u64, checksum: u32) -> Option<u32> {
        if *self == Self::PLAIN {
            return None;
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&sequence.to_le_bytes());
        hasher.update(&checksum.to_le_bytes());
        hasher.update(&[self.priority.get()]);
        for time in [self.lifetime, self.expires] {
            hasher.update(&[u8::from(time.is_some())]);
            hasher.update(&time.unwrap_or_default().to_le_bytes());
        }
        hasher.update(&[u8::from(self.route.is_some())]);
        hasher.update(self.route.unwrap_or_default().as_bytes());
        Some(hasher.finalize())
    }

    /// When it expires, by the queue's time.
    pub(crate) fn has_expired(&self, queue: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= queue)
    }
}

/// The parts of an item, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) key: &'a str,
    pub(crate) id: &'a str,
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Parts<'_> {
    /// Parts of a mark.
    pub(crate) const NONE: Self = Self {
        key: "",
        id: "",
        properties: &[],
        payload: &[],
    };

    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.id.len() + self.properties.len() + self.payload.len()
    }

    /// CRC-32 of everything in the row, with lengths, so that nothing can move from one part to its neighbour.
    pub(crate) fn checksum(&self, sequence: u64, enqueued: i64) -> u32 {
        checksum(
            sequence,
            enqueued,
            [
                self.key.as_bytes(),
                self.id.as_bytes(),
                self.properties,
                self.payload,
            ],
        )
    }
}

impl<'a> From<&'a NewItem> for Parts<'a> {
    fn from(item: &'a NewItem) -> Self {
        Self {
            key: &item.key,
            id: &item.id,
            properties: &item.properties,
            payload: &item.payload,
        }
    }
}

fn checksum(sequence: u64, enqueued: i64, parts: [&[u8]; 4]) -> u32 {
    let mut head = [0; 48];
    head[..8].copy_from_slice(&sequence.to_le_bytes());
    head[8..16].copy_from_slice(&enqueued.to_le_bytes());
    for (place, part) in head[16..].chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&(part.len() as u64).to_le_bytes());
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// A row as it was read.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The row's number, even if the row is damaged.
    pub(crate) number: i64,
    pub(crate) content: Content<'a>,
}

#[derive(Debug)]
pub(crate) enum Content<'a> {
    Item(Item<'a>),
    Mark {
        sequence: u64,
    },
    /// A checksum does not hold, or a column has not its type.
    Damaged,
}

/// An item within a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) sequence: u64,
    pub(crate) enqueued: i64,
    pub(crate) parts: Parts<'a>,
    pub(crate) terms: Terms<'a>,
}

impl Item<'_> {
    /// For a caller to keep.
    pub(crate) fn stored(&self, route: Route) -> StoredItem {
        StoredItem {
            sequence: Sequence(self.sequence),
            enqueued: time(self.enqueued),
            key: self.parts.key.to_owned(),
            id: self.parts.id.to_owned(),
            properties: Bytes::copy_from_slice(self.parts.properties),
            payload: Bytes::copy_from_slice(self.parts.payload),
            priority: self.terms.priority,
            route,
            lifetime: self
                .terms
                .lifetime
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())),
        }
    }
}

impl<'a> Row<'a> {
    /// Takes a row of [`ROWS`] of a priority apart. Fails only if SQLite does.
    pub(crate) fn decode(priority: Priority, row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let number = row.get_ref(0)?.as_i64().unwrap_or(i64::MIN);
        let parts = [
            row.get_ref(1)?,
            row.get_ref(2)?,
            row.get_ref(3)?,
            row.get_ref(4)?,
            row.get_ref(5)?,
            row.get_ref(6)?,
        ];
        let terms = [
            row.get_ref(7)?,
            row.get_ref(8)?,
            row.get_ref(9)?,
            row.get_ref(10)?,
        ];
        Ok(Self {
            number,
            content: content(number, priority, parts, terms).unwrap_or(Content::Damaged),
        })
    }

    /// Takes the values of a row apart, in the order of [`ROWS`]; its number is not among them. Without a priority, it is that
    /// for which its seal holds.
    pub(crate) fn of(
        priority: Option<Priority>,
        number: i64,
        values: [ValueRef<'a>; COLUMNS],
    ) -> Self {
        let [_, enqueued, sum, key, id, properties, payload, terms @ ..] = values;
        let parts = [enqueued, sum, key, id, properties, payload];
        let of = |priority| content(number, priority, parts, terms);
        let content = match (priority, terms[3]) {
            (Some(priority), _) => of(priority),
            (None, ValueRef::Null) => of(Priority::DEFAULT),
            (None, _) => Priority::descending().find_map(of),
        };
        Self {
            number,
            content: content.unwrap_or(Content::Damaged),
        }
    }
}

fn content<'a>(
    number: i64,
    priority: Priority,
    parts: [ValueRef<'a>; 6],
    terms: [ValueRef<'a>; 4],
) -> Option<Content<'a>> {
    let [
        ValueRef::Integer(enqueued),
        ValueRef::Integer(stored),
        ValueRef::Text(key),
        ValueRef::Text(id),
        ValueRef::Blob(properties),
        ValueRef::Blob(payload),
    ] = parts
    else {
        return None;
    };
    let sequence = u64::try_from(number).ok()?;
    let sum = checksum(sequence, enqueued, [key, id, properties, payload]);
    if i64::from(sum) != stored {
        return None;
    }
    let terms = sealed(sequence, sum, priority, terms)?;
    if enqueued == MARK {
        return (terms == Terms::PLAIN).then_some(Content::Mark { sequence });
    }
    let (key, id) = (
        std::str::from_utf8(key).ok()?,
        std::str::from_utf8(id).ok()?,
    );
    Some(Content::Item(Item {
        sequence,
        enqueued,
        parts: Parts {
            key,
            id,
            properties,
            payload,
        },
        terms,
    }))
}

/// The terms of a row, if they are as they were written.
fn sealed<'a>(
    sequence: u64,
    checksum: u32,
    priority: Priority,
    [route, lifetime, expires, seal]: [ValueRef<'a>; 4],
) -> Option<Terms<'a>> {
    let number = |value| match value {
        ValueRef::Null => Some(None),
        ValueRef::Integer(number) => Some(Some(number)),
        _ => None,
    };
    let terms = Terms {
        priority,
        route: match route {
            ValueRef::Null => None,
            ValueRef::Text(route) => Some(std::str::from_utf8(route).ok()?),
            _ => return None,
        },
        lifetime: number(lifetime)?,
        expires: number(expires)?,
    };
    let expected = terms.seal(sequence, checksum).map(i64::from);
    (number(seal)? == expected).then_some(terms)
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
