//! Copies the readable rows of a damaged database.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::age::Anchor;
use crate::fault::Fault;
use crate::item::Priority;
use crate::row::{self, Content, Item, Parts, Row, Terms, per_priority};
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

/// A row, kept until it is handed over.
#[derive(Debug)]
struct Kept {
    sequence: u64,
    enqueued: i64,
    key: String,
    id: String,
    properties: Vec<u8>,
    payload: Vec<u8>,
    route: Option<String>,
    lifetime: Option<i64>,
    expires: Option<i64>,
}

impl Kept {
    fn of(item: &Item<'_>) -> Self {
        Self {
            sequence: item.sequence,
            enqueued: item.enqueued,
            key: item.parts.key.to_owned(),
            id: item.parts.id.to_owned(),
            properties: item.parts.properties.to_owned(),
            payload: item.parts.payload.to_owned(),
            route: item.terms.route.map(str::to_owned),
            lifetime: item.terms.lifetime,
            expires: item.terms.expires,
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            key: &self.key,
            id: &self.id,
            properties: &self.properties,
            payload: &self.payload,
        }
    }

    fn terms(&self, priority: Priority) -> Terms<'_> {
        Terms {
            priority,
            route: self.route.as_deref(),
            lifetime: self.lifetime,
            expires: self.expires,
        }
    }
}

/// A walk through damaged tables, the highest priority first, each from the lowest sequence number to the highest.
#[derive(Debug)]
pub(crate) struct Salvage<'a> {
    source: Connection,
    target: &'a mut Store,
    /// The version of the schema, if the file says it clearly.
    version: Option<u32>,
    /// How far items are gone whose rows are there.
    gone: Vec<(Priority, u64)>,
    batch: Vec<Kept>,
    batch_bytes: usize,
    starts: u32,
    found: Salvaged,
    /// The table that is walked through.
    priority: Priority,
    /// The number of the last sound row of the table.
    highest: u64,
    /// Rows were skipped since then.
    gap: bool,
    /// Numbers between which rows of a table could not be read, exclusive.
    gaps: Vec<(u64, u64)>,
    /// Damaged rows that lie in such gaps, which `lost` has already.
    counted: u64,
    /// Damaged rows since the last sound one.
    damaged: u64,
}

enum Walk {
    Done,
    /// Nothing can be read right after this number.
    BrokenAfter(i64),
}

impl<'a> Salvage<'a> {
    pub(crate) fn new(
        path: &Path,
        target: &'a mut Store,
        version: Option<u32>,
    ) -> Result<Self, Fault> {
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
        // If that cannot be read, items come again.
        let gone = match version {
            Some(1) => Vec::new(),
            _ => crate::gone::load(&source).unwrap_or_default(),
        };
        source.set_prepared_statement_cache_capacity(8);
        source.prepare(row::ROWS[Priority::DEFAULT.index()])?;
        Ok(Self {
            source,
            target,
            version,
            gone,
            batch: Vec::new(),
            batch_bytes: 0,
            starts: STARTS,
            found: Salvaged::default(),
            priority: Priority::HIGHEST,
            highest: 0,
            gap: false,
            gaps: Vec::new(),
            counted: 0,
            damaged: 0,
        })
    }

    pub(crate) fn run(mut self) -> Result<Salvaged, Fault> {
        for priority in Priority::descending() {
            // Where version 1 has its items a later one may have the roots of its other tables.
            if self.version == Some(1) && priority != Priority::DEFAULT {
                continue;
            }
            self.table(priority)?;
        }
        if let Some(anchor) = Anchor::load(&self.source) {
            self.target
                .transact(|target| anchor.store(&target.connection))?;
        }
        self.found.lost += self.missing()?;
        Ok(self.found)
    }

    fn table(&mut self, priority: Priority) -> Result<(), Fault> {
        self.priority = priority;
        let gone = self.gone.iter().find(|(of, _)| *of == priority);
        let gone = gone.map_or(0, |(_, until)| *until);
        (self.highest, self.gap, self.damaged) = (gone, false, 0);
        let mut after = if gone == 0 {
            -1
        } else {
            i64::try_from(gone).unwrap_or(i64::MAX)
        };
        while let Walk::BrokenAfter(last) = self.walk(after)? {
            self.gap = true;
            self.starts = self.starts.saturating_sub(1);
            match self.beyond(last) {
                Some(readable) if self.starts > 0 => after = readable,
                _ => break,
            }
        }
        if self.gap {
            let end = self.end().max(self.highest.saturating_add(1));
            let gap = gap(self.target, self.highest, end.saturating_add(1));
            self.gaps.push(gap);
            self.counted += self.damaged;
        }
        self.flush()
    }

    /// How many items are likely to be missing: numbers within gaps that are in no table. Some of them may have left the
    /// queue before.
    fn missing(&mut self) -> Result<u64, Fault> {
        const COUNT: [&str; Priority::COUNT] = per_priority!(
            "SELECT count(*) FROM ",
            " WHERE sequence > ?1 AND sequence < ?2"
        );
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for gap in gaps {
            match joined.last_mut() {
                Some(last) if gap.0 < last.1 => last.1 = last.1.max(gap.1),
                _ => joined.push(gap),
            }
        }
        let mut missing: u64 = 0;
        for (after, before) in joined {
            let mut present: u64 = 0;
            for sql in COUNT {
                present += self
                    .target
                    .statement(sql)?
                    .query_row((after, before), |row| row.get::<_, u64>(0))?;
            }
            let numbers = before.saturating_sub(after).saturating_sub(1);
            missing += numbers.saturating_sub(present);
        }
        Ok(missing
            .min(rows_at_most(self.target))
            .saturating_sub(self.counted))
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
        let Ok(mut statement) = self.source.prepare_cached(row::ROWS[self.priority.index()]) else {
            return Some(Walk::BrokenAfter(*last));
        };
        let Ok(mut rows) = statement.query((*last, i64::MAX)) else {
            return Some(Walk::BrokenAfter(*last));
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => Row::decode(self.priority, row),
                Ok(None) => return Some(Walk::Done),
                Err(error) => Err(error),
            };
            let Ok(row) = row else {
                return Some(Walk::BrokenAfter(*last));
            };
            self.found.seen_any = true;
            let sequence = match row.content {
                // Its number may be wrong as well: it does not move the walk.
                Content::Damaged { sealed } => {
                    // Without a seal it may be a row of another table, which is walked through as well.
                    if self.priority == Priority::DEFAULT || sealed || self.version.is_some() {
                        self.found.lost += 1;
                        self.damaged += 1;
                    }
                    continue;
                }
                // A page that was walked before: the tree is not one.
                _ if row.number <= *last => return Some(Walk::BrokenAfter(*last)),
                Content::Mark { sequence } => sequence,
                Content::Item(item) => {
                    self.batch_bytes += item.parts.size();
                    self.batch.push(Kept::of(&item));
                    item.sequence
                }
            };
            *last = row.number;
            if std::mem::take(&mut self.gap) {
                self.gaps.push(gap(self.target, self.highest, sequence));
                self.counted += self.damaged;
            }
            self.damaged = 0;
            self.highest = sequence;
            self.found.highest = self.found.highest.max(sequence);
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
        let Ok(mut statement) = self.source.prepare_cached(row::ROWS[self.priority.index()]) else {
            return false;
        };
        let Ok(mut rows) = statement.query((after, i64::MAX)) else {
            return false;
        };
        match rows.next() {
            Ok(Some(row)) => Row::decode(self.priority, row).is_ok_and(|row| row.number > after),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The highest number in the table, if that can be told.
    fn end(&self) -> u64 {
        const LAST: [&str; Priority::COUNT] =
            per_priority!("SELECT sequence FROM ", " ORDER BY sequence DESC LIMIT 1");
        let highest = self
            .source
            .query_row(LAST[self.priority.index()], [], |row| row.get(0));
        highest.unwrap_or_default()
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() || self.found.stopped {
            return Ok(());
        }
        let priority = self.priority;
        let stored = self.target.transact(|target| {
            batch.iter().try_for_each(|kept| {
                target.insert(
                    kept.sequence,
                    kept.enqueued,
                    kept.parts(),
                    kept.terms(priority),
                )
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

/// Rows could not be read between a sound one and another: numbers around the gap.
fn gap(target: &Store, last: u64, next: u64) -> (u64, u64) {
    let most = rows_at_most(target).saturating_add(1);
    (last.max(next.saturating_sub(most)), next)
}

/// No file of this size has more rows.
fn rows_at_most(target: &Store) -> u64 {
    target.space.pages * PAGE / LEAST_ROW
}
