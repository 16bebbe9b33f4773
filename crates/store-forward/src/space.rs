//! Where the bytes of `max_bytes` go.
//!
//! The database file and its write-ahead log share the bound. A quarter of it, at most 16 MiB, is the log's; the rest is
//! the database's, held by `max_page_count`. Pages of removed items go to its free list and are used again at once, so a
//! page that was once paid for costs no new block of the disk; the file shrinks when nearly all of it is free (`compaction.rs`).
//!
//! The log gets a transaction on top of what has not been copied into the database yet. It is copied (checkpoint) when
//! it has a quarter of its share; one transaction adds at most another quarter by the estimates below; the rest is for
//! pages that removals touch. If copying fails because the disk is full, writing stops at half of the share.

use std::ops::RangeInclusive;

use crate::item::{NewItem, Priority};

/// Bytes of a page of the database.
pub(crate) const PAGE: u64 = 4096;
/// Bytes of a page in the log: page and frame header (SQLite, "WAL file format", 4.2).
pub(crate) const FRAME: u64 = PAGE + 24;
/// The least bytes that an item takes on a page: cell header, record header, time and checksum.
pub(crate) const LEAST_ROW: u64 = 24;

const GONE_MAX: u64 = 512 * 1024;
const LOG_MAX: u64 = 16 * 1024 * 1024;
/// Pages that a removed range can touch in a table: its two ends and their neighbours.
const PAGES_PER_RANGE: u64 = 4;
/// The most pages that one removal may write, so that appends do not wait for it for long.
const MOST_REMOVAL_PAGES: u64 = 1024;

/// The division of `max_bytes`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Bound of the database file, in pages.
    pub(crate) pages: u64,
    /// Share of the log, in bytes.
    log: u64,
}

impl Space {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let log = (max_bytes / 4).min(LOG_MAX);
        Self {
            pages: (max_bytes - log) / PAGE,
            log,
        }
    }

    /// Frames in the log at which it is copied into the database.
    pub(crate) fn checkpoint_frames(self) -> u64 {
        self.log / 4 / FRAME
    }

    /// Frames in the log at which nothing more is written: copying has failed for long.
    pub(crate) fn stop_frames(self) -> u64 {
        self.log / 2 / FRAME
    }

    /// What the log's file is cut to when it starts over, in bytes.
    pub(crate) fn log_file_limit(self) -> u64 {
        self.log / 2
    }

    /// Pages that one transaction may write.
    pub(crate) fn transaction_pages(self) -> u64 {
        self.log / 4 / FRAME
    }

    /// The largest item, in bytes of its parts.
    pub(crate) fn item_limit(self) -> usize {
        let bytes = self.transaction_pages().saturating_sub(3) * OVERFLOW;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Cuts ranges of a removal so that the first part fits into one transaction, and gives the rest. `tables`: how many
    /// hold anything.
    pub(crate) fn cut_removal(
        self,
        ranges: &mut Vec<RangeInclusive<u64>>,
        tables: u64,
    ) -> Vec<RangeInclusive<u64>> {
        let budget = self.transaction_pages().min(MOST_REMOVAL_PAGES);
        if let Some(first) = ranges.first_mut()
            && removal_pages(first, tables) > budget
        {
            let middle = first.start() + (budget / PAGES_PER_RANGE).max(1) - 1;
            let end = *first.end();
            *first = *first.start()..=middle.min(end);
            let mut rest = ranges.split_off(1);
            if middle < end {
                rest.insert(0, middle + 1..=end);
            }
            return rest;
        }
        let mut pages = 0;
        let fitting = ranges.iter().take_while(|range| {
            pages += removal_pages(range, tables);
            pages <= budget
        });
        let fitting = fitting.count().max(1);
        ranges.split_off(fitting.min(ranges.len()))
    }

    /// Bytes of items that are gone in a table at which their rows are deleted, and the most that one transaction deletes.
    pub(crate) fn gone_bytes(self) -> u64 {
        (self.pages * PAGE / 24).min(GONE_MAX)
    }

    /// The most rows, anywhere in the tables, that one transaction deletes.
    pub(crate) fn rows_per_removal(self) -> usize {
        usize::try_from(self.transaction_pages() / PAGES_PER_RANGE)
            .unwrap_or(usize::MAX)
            .clamp(1, 256)
    }
}

/// Pages that a removal of a range can write: its two ends and their neighbours, in each of so many tables.
pub(crate) fn removal_pages(range: &RangeInclusive<u64>, tables: u64) -> u64 {
    let numbers = (range.end() - range.start()).saturating_add(1);
    PAGES_PER_RANGE * numbers.min(tables.max(1))
}

/// Usable bytes of a leaf page, of which each cell also takes a two-byte pointer (SQLite, "Database file format", 1.6).
const LEAF: u64 = PAGE - 8;
/// The most of a row that stays in its leaf page, and the least when it does not fit.
pub(crate) const LOCAL_MAX: u64 = PAGE - 35;
pub(crate) const LOCAL_MIN: u64 = (PAGE - 12) * 32 / 255 - 23;
/// Bytes of a row that one overflow page takes.
pub(crate) const OVERFLOW: u64 = PAGE - 4;
/// Record header, times and checksums: up to 64 bytes.
const RECORD: u64 = 64;
/// Those of an item that says nothing of priority, route and lifetime.
const PLAIN_RECORD: u64 = 38;
/// Length, row number, overflow pointer and cell pointer: up to 19 bytes.
const CELL: u64 = 19;
/// An entry in the index of lifetimes, with the room that it may leave in its page.
const INDEX_ENTRY: u64 = 60;

/// How many pages a run of appended items writes at most, of which all but those of the trees' ends are new.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    pages: u64,
    /// Bytes left in the last leaf page of each priority's table.
    left: [u16; Priority::COUNT],
    /// Items with a lifetime.
    timed: u64,
    /// Tables, and indexes of lifetimes: a bit for each priority.
    tables: u16,
    indexes: u16,
}

impl Estimate {
    pub(crate) fn add(&mut self, item: &NewItem) {
        let route = item.route.stored();
        let plain =
            item.priority == Priority::DEFAULT && route.is_none() && item.lifetime.is_none();
        let overhead = if plain { PLAIN_RECORD } else { RECORD };
        let record = item.size() as u64 + route.map_or(0, str::len) as u64 + overhead;
        let (local, overflow) = if record <= LOCAL_MAX {
            (record, 0)
        } else {
            let tail = LOCAL_MIN + (record - LOCAL_MIN) % OVERFLOW;
            let local = if tail <= LOCAL_MAX { tail } else { LOCAL_MIN };
            (local, (record - local).div_ceil(OVERFLOW))
        };
        let cell = local + CELL;
        let index = item.priority.index();
        let left = &mut self.left[index];
        if u64::from(*left) < cell {
            self.pages += 1;
            *left = LEAF as u16;
        }
        *left = left.saturating_sub(u16::try_from(cell).unwrap_or(u16::MAX));
        self.pages += overflow;
        self.tables |= 1 << index;
        if item.lifetime.is_some() {
            self.timed += 1;
            self.indexes |= 1 << index;
        }
    }

    pub(crate) fn with<'a>(mut self, items: impl Iterator<Item = &'a NewItem>) -> Self {
        items.for_each(|item| self.add(item));
        self
    }

    /// Leaf and overflow pages with the inner pages above them.
    pub(crate) fn pages(self) -> u64 {
        let trees = self.tables.count_ones() + self.indexes.count_ones();
        // The first tree's end is in the reserve, as it always was.
        self.pages
            + self.pages.div_ceil(64)
            + (self.timed * INDEX_ENTRY).div_ceil(LEAF)
            + u64::from(trees.saturating_sub(1))
    }
}
