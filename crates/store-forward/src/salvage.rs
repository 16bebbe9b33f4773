//! Copies the readable rows of a damaged database.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::fault::Fault;
use crate::item::StoredItem;
use crate::row::{self, Content, Parts, Row, stored};
use crate::space::{LEAST_ROW, PAGE};
use crate::store::Store;

/// How often the walk starts anew beyond a part that cannot be read.
const STARTS: u32 = 20_000;
/// Rows are handed over in transactions of so many items or bytes.
const BATCH_ITEMS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) restored: u64,
    /// Rows that did not match their checksum, and sequence numbers within parts that could not be read.
    pub(crate) lost: u64,
    /// The highest sequence number seen in a sound row.
    pub(crate) highest: u64,
    /// Whether there was any row, sound or not.
    pub(crate) seen_any: bool,
    /// The new file had no room for all.
    pub(crate) stopped: bool,
}

/// A walk through a damaged table, from the lowest sequence number to the highest.
#[derive(Debug)]
pub(crate) struct Salvage<'a> {
    source: Connection,
    target: &'a mut Store,
    batch: Vec<(i64, StoredItem)>,
    batch_bytes: usize,
    starts: u32,
    found: Salvaged,
    /// Rows were skipped since the last sound one.
    gap: bool,
    /// Damaged rows since the last sound one, which `lost` has already.
    counted: u64,
}

enum Walk {
    Done,
    /// Nothing can be read right after this number.
    BrokenAfter(i64),
}

impl<'a> Salvage<'a> {
    pub(crate) fn new(path: &Path, target: &'a mut Store) -> Result<Self, Fault> {
        let source = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        source.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -1800;
             PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
        )?;
        // The damaged file stays what it is, with its log.
        source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        source.prepare(row::AFTER)?;
        Ok(Self {
            source,
            target,
            batch: Vec::new(),
            batch_bytes: 0,
            starts: STARTS,
            found: Salvaged::default(),
            gap: false,
            counted: 0,
        })
    }

    pub(crate) fn run(mut self) -> Result<Salvaged, Fault> {
        let mut after = -1;
        while let Walk::BrokenAfter(last) = self.walk(after)? {
            self.gap = true;
            self.starts = self.starts.saturating_sub(1);
            match self.beyond(last) {
                Some(readable) if self.starts > 0 => after = readable,
                _ => break,
            }
        }
        if self.gap {
            let tail = self.end().saturating_sub(self.found.highest);
            self.found.lost += tail
                .clamp(1, rows_at_most(self.target))
                .saturating_sub(self.counted);
        }
        self.flush()?;
        Ok(self.found)
    }

    /// Reads rows after a number up to the first error.
    fn walk(&mut self, after: i64) -> Result<Walk, Fault> {
        let mut last = after;
        loop {
            // A statement lives for one batch, because handing over needs all of `self`.
            let walk = self.walk_batch(&mut last);
            if let Some(walk) = walk {
                return Ok(walk);
            }
            self.flush()?;
            if self.found.stopped {
                return Ok(Walk::Done);
            }
        }
    }

    /// Reads rows until the walk ends, or the batch is full (None).
    fn walk_batch(&mut self, last: &mut i64) -> Option<Walk> {
        let Ok(mut statement) = self.source.prepare_cached(row::AFTER) else {
            return Some(Walk::BrokenAfter(*last));
        };
        let Ok(mut rows) = statement.query([*last]) else {
            return Some(Walk::BrokenAfter(*last));
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => Row::decode(row),
                Ok(None) => return Some(Walk::Done),
                Err(error) => Err(error),
            };
            let Ok(row) = row else {
                return Some(Walk::BrokenAfter(*last));
            };
            self.found.seen_any = true;
            let sequence = match row.content {
                // Its number may be wrong as well: it does not move the walk.
                Content::Damaged => {
                    self.found.lost += 1;
                    self.counted += 1;
                    continue;
                }
                // A page that was walked before: the tree is not one.
                _ if row.number <= *last => return Some(Walk::BrokenAfter(*last)),
                Content::Mark { sequence } => sequence,
                Content::Item {
                    sequence,
                    enqueued,
                    parts,
                } => {
                    self.batch_bytes += parts.size();
                    self.batch
                        .push((enqueued, stored(sequence, enqueued, &parts)));
                    sequence
                }
            };
            *last = row.number;
            if std::mem::take(&mut self.gap) {
                let missing = sequence
                    .saturating_sub(self.found.highest + 1)
                    .min(rows_at_most(self.target));
                self.found.lost += missing.saturating_sub(self.counted);
            }
            self.counted = 0;
            self.found.highest = sequence;
            if self.batch.len() >= BATCH_ITEMS || self.batch_bytes >= BATCH_BYTES {
                return None;
            }
        }
    }

    /// The number nearest to `last` after which a row can be read again: looks at distances 1, 2, 4 and so on, then halves
    /// the last step.
    fn beyond(&self, last: i64) -> Option<i64> {
        let mut distance: i64 = 1;
        while !self.readable(last.checked_add(distance)?) {
            distance = distance.checked_mul(2)?;
        }
        let (mut broken, mut readable) = (last + distance / 2, last + distance);
        while readable - broken > 1 {
            let middle = broken + (readable - broken) / 2;
            if self.readable(middle) {
                readable = middle;
            } else {
                broken = middle;
            }
        }
        Some(readable)
    }

    /// Whether the first row after a number, or that there is none, can be read.
    fn readable(&self, after: i64) -> bool {
        let Ok(mut statement) = self.source.prepare_cached(row::AFTER) else {
            return false;
        };
        let Ok(mut rows) = statement.query([after]) else {
            return false;
        };
        match rows.next() {
            Ok(Some(row)) => Row::decode(row).is_ok_and(|row| row.number > after),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The highest number in the table, if that can be told.
    fn end(&self) -> u64 {
        let highest = self.source.query_row(
            "SELECT sequence FROM item ORDER BY sequence DESC LIMIT 1",
            [],
            |row| row.get(0),
        );
        highest.unwrap_or_default()
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() || self.found.stopped {
            return Ok(());
        }
        let stored = self.target.transact(|target| {
            batch.iter().try_for_each(|(enqueued, item)| {
                target.insert(item.sequence.0, *enqueued, Parts::of(item))
            })
        });
        match stored.and_then(|()| self.target.checkpoint_if_due()) {
            Ok(()) => {
                self.found.restored += batch.len() as u64;
                Ok(())
            }
            Err(fault @ (Fault::Full | Fault::AtBound)) => {
                tracing::error!(
                    reason = fault.message(),
                    "not all readable items could be kept; the rest is in the damaged file"
                );
                self.found.stopped = true;
                self.found.lost += batch.len() as u64;
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }
}

/// No file of this size has more rows.
fn rows_at_most(target: &Store) -> u64 {
    target.space.pages * PAGE / LEAST_ROW
}
