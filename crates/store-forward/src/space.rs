//! Where the bytes of `max_bytes` go.
//!
//! The database file and its write-ahead log share the bound. A quarter of it, at most 16 MiB, is the log's; the rest is
//! the database's, held by `max_page_count`. The file never shrinks while it is open: pages of removed items go to its
//! free list and are used again, so a page that was once paid for costs no new block of the disk.
//!
//! The log gets a transaction on top of what has not been copied into the database yet. It is copied (checkpoint) when
//! it has a quarter of its share; one transaction adds at most another quarter by the estimates below; the rest is for
//! pages that removals touch. If copying fails because the disk is full, writing stops at half of the share.

/// Bytes of a page of the database.
pub(crate) const PAGE: u64 = 4096;
/// Bytes of a page in the log: page and frame header (SQLite, "WAL file format", 4.2).
pub(crate) const FRAME: u64 = PAGE + 24;
/// The least bytes that an item takes on a page: cell header, record header, time and checksum.
pub(crate) const LEAST_ROW: u64 = 24;

const LOG_MAX: u64 = 16 * 1024 * 1024;
/// Pages that a removed range can touch: its two ends and their neighbours.
const PAGES_PER_RANGE: u64 = 4;

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

    /// The most ranges of sequence numbers that one removal may have.
    pub(crate) fn ranges_per_removal(self) -> usize {
        usize::try_from(self.transaction_pages() / PAGES_PER_RANGE)
            .unwrap_or(usize::MAX)
            .clamp(1, 256)
    }
}

/// Pages that a removal of so many ranges can write.
pub(crate) fn removal_pages(ranges: usize) -> u64 {
    PAGES_PER_RANGE * ranges as u64
}

/// Usable bytes of a leaf page, of which each cell also takes a two-byte pointer (SQLite, "Database file format", 1.6).
const LEAF: u64 = PAGE - 8;
/// The most of a row that stays in its leaf page, and the least when it does not fit.
const LOCAL_MAX: u64 = PAGE - 35;
const LOCAL_MIN: u64 = (PAGE - 12) * 32 / 255 - 23;
/// Bytes of a row that one overflow page takes.
const OVERFLOW: u64 = PAGE - 4;
/// Record header, time and checksum: up to 34 bytes.
const RECORD: u64 = 34;
/// Length, row number, overflow pointer and cell pointer: up to 19 bytes.
const CELL: u64 = 19;

/// How many new pages a run of appended items takes at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    pages: u64,
    /// Bytes left in the last leaf page.
    left: u64,
}

impl Estimate {
    pub(crate) fn add(&mut self, size: usize) {
        let record = size as u64 + RECORD;
        let (local, overflow) = if record <= LOCAL_MAX {
            (record, 0)
        } else {
            let tail = LOCAL_MIN + (record - LOCAL_MIN) % OVERFLOW;
            let local = if tail <= LOCAL_MAX { tail } else { LOCAL_MIN };
            (local, (record - local).div_ceil(OVERFLOW))
        };
        let cell = local + CELL;
        if self.left < cell {
            self.pages += 1;
            self.left = LEAF;
        }
        self.left = self.left.saturating_sub(cell);
        self.pages += overflow;
    }

    pub(crate) fn with(mut self, sizes: impl Iterator<Item = usize>) -> Self {
        sizes.for_each(|size| self.add(size));
        self
    }

    /// Leaf and overflow pages with the inner pages above them.
    pub(crate) fn pages(self) -> u64 {
        self.pages + self.pages.div_ceil(64)
    }
}
