//! A row of the table and its checksum.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::item::{NewItem, Sequence, StoredItem};

/// `enqueued` of the row that only keeps the last sequence number in the table, when that item is gone already.
pub(crate) const MARK: i64 = -1;

/// Rows after a number, with the columns that [`Row::decode`] reads in its order.
pub(crate) const AFTER: &str = "SELECT sequence, enqueued, checksum, key, id, properties, payload FROM item WHERE sequence > ?1 ORDER BY sequence";

/// Size of an item in SQL. Does not read overflow pages.
macro_rules! size {
    () => {
        "octet_length(key) + octet_length(id) + octet_length(properties) + octet_length(payload)"
    };
}
pub(crate) use size;

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

    pub(crate) fn of(item: &StoredItem) -> Parts<'_> {
        Parts {
            key: &item.key,
            id: &item.id,
            properties: &item.properties,
            payload: &item.payload,
        }
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
    Item {
        sequence: u64,
        enqueued: i64,
        parts: Parts<'a>,
    },
    Mark {
        sequence: u64,
    },
    /// The checksum does not hold, or a column has not its type.
    Damaged,
}

impl<'a> Row<'a> {
    /// Takes a row of [`AFTER`] apart. Fails only if SQLite does.
    pub(crate) fn decode(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let number = row.get_ref(0)?.as_i64().unwrap_or(i64::MIN);
        let values = [
            row.get_ref(1)?,
            row.get_ref(2)?,
            row.get_ref(3)?,
            row.get_ref(4)?,
            row.get_ref(5)?,
            row.get_ref(6)?,
        ];
        Ok(Self {
            number,
            content: content(number, values).unwrap_or(Content::Damaged),
        })
    }
}

fn content(number: i64, values: [ValueRef<'_>; 6]) -> Option<Content<'_>> {
    let [
        ValueRef::Integer(enqueued),
        ValueRef::Integer(stored),
        ValueRef::Text(key),
        ValueRef::Text(id),
        ValueRef::Blob(properties),
        ValueRef::Blob(payload),
    ] = values
    else {
        return None;
    };
    let sequence = u64::try_from(number).ok()?;
    if i64::from(checksum(sequence, enqueued, [key, id, properties, payload])) != stored {
        return None;
    }
    if enqueued == MARK {
        return Some(Content::Mark { sequence });
    }
    let (key, id) = (
        std::str::from_utf8(key).ok()?,
        std::str::from_utf8(id).ok()?,
    );
    Some(Content::Item {
        sequence,
        enqueued,
        parts: Parts {
            key,
            id,
            properties,
            payload,
        },
    })
}

/// An item that was read whole, for a caller to keep.
pub(crate) fn stored(sequence: u64, enqueued: i64, parts: &Parts<'_>) -> StoredItem {
    StoredItem {
        sequence: Sequence(sequence),
        enqueued: time(enqueued),
        key: parts.key.to_owned(),
        id: parts.id.to_owned(),
        properties: Bytes::copy_from_slice(parts.properties),
        payload: Bytes::copy_from_slice(parts.payload),
    }
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
