//! The database: transactions on the table of items, and what it takes of the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rusqlite::{CachedStatement, Connection, FileControl, OpenFlags, OptionalExtension};

use crate::fault::Fault;
use crate::folder::log_of;
use crate::options::WhenFull;
use crate::row::{self, Parts, Row, size};
use crate::schema;
use crate::space::{PAGE, Space};

/// Pages by which the file grows beyond what is needed at once.
const GROWTH: u64 = 16;

/// An open database and what is known of its content.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: Connection,
    pub(crate) space: Space,
    pub(crate) when_full: WhenFull,
    pub(crate) tally: Tally,
    path: PathBuf,
    log: PathBuf,
    /// Bytes of the database's file on disk.
    allocated: u64,
    /// Frames in the log, told by SQLite at each commit.
    pub(crate) frames: Arc<AtomicU64>,
}

/// What is in the table. Changes with a transaction and goes back with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The highest sequence number ever given out.
    pub(crate) last: u64,
    /// Whether a row has it, so that it survives.
    pub(crate) last_present: bool,
    /// The row that has it without being an item.
    pub(crate) mark: Option<u64>,
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    /// When the oldest item came, in microseconds since 1970. None within a transaction: to be looked up.
    pub(crate) oldest: Option<i64>,
}

impl Store {
    /// Opens or creates the file, without a look at its content.
    pub(crate) fn connect(path: &Path, space: Space, when_full: WhenFull) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        // Exclusive: no shared memory file, no locking per transaction. Must come before the first look at the log, which the
        // other settings take.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA encoding = 'UTF-8'; PRAGMA auto_vacuum = NONE;"
        ))?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fault::Damaged(format!(
                "its journal mode is {mode} and cannot be changed"
            )));
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL;
             PRAGMA cache_size = -1800;
             PRAGMA mmap_size = 0;
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;
             PRAGMA cell_size_check = ON;
             PRAGMA journal_size_limit = {};
             PRAGMA max_page_count = {};",
            space.log_file_limit(),
            space.pages,
        ))?;
        // Takes the place of SQLite's automatic checkpoint, which would run before a commit is answered and whose
        // failure would not be seen.
        let frames = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&frames);
        connection.wal_hook(Some(move |_: &mut _, pages: i32| {
            seen.store(u64::try_from(pages).unwrap_or_default(), Relaxed);
            Ok(())
        }))?;
        // Without a chunk size SQLite takes no hints about the size of its file.
        connection.file_control(None::<&str>, FileControl::ChunkSize(&mut (PAGE as i32)))?;
        let allocated = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(Self {
            connection,
            space,
            when_full,
            tally: Tally::default(),
            path: path.to_owned(),
            log: log_of(path),
            allocated,
            frames,
        })
    }

    /// Lets work that writes every row anew go beyond the bound of the file, up to three times as far. What it leaves above
    /// the bound is for the caller to shrink.
    pub(crate) fn beyond_bound<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let bound = |store: &Self, pages: u64| {
            store
                .connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        };
        bound(self, 3 * self.space.pages.max(self.page_count()?))?;
        let result = work(&mut self.connection);
        bound(self, self.space.pages)?;
        result
    }

    /// Runs `work` in a transaction. Keeps the last sequence number and the oldest time right; after an error everything
    /// is as before.
    pub(crate) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let before = self.tally;
        let result = self.begin_and_commit(work);
        if let Err(fault) = result {
            self.tally = before;
            let fault = if fault == Fault::Full && self.at_bound() {
                Fault::AtBound
            } else {
                fault
            };
            if !self.connection.is_autocommit() {
                // Should this fail too, the next transaction does not begin, and says so.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            return Err(fault);
        }
        result
    }

    fn begin_and_commit<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let done = work(self)?;
        self.keep_last()?;
        if self.tally.depth > 0 && self.tally.oldest.is_none() {
            self.tally.oldest = Some(self.find_oldest()?);
        }
        self.allocate()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(done)
    }

    /// Takes the blocks for the pages of this transaction from the disk before it is committed. Otherwise a full disk
    /// would show only when the log is copied into the database, and a log that cannot be copied stops everything, also
    /// the removals that could make room.
    fn allocate(&mut self) -> Result<(), Fault> {
        let pages = self.page_count()?;
        if pages * PAGE <= self.allocated {
            return Ok(());
        }
        let ahead = (pages + GROWTH).min(self.space.pages).max(pages) * PAGE;
        let mut bytes = i64::try_from(ahead).unwrap_or(i64::MAX);
        let grown = self
            .connection
            .file_control(None::<&str>, FileControl::SizeHint(&mut bytes));
        // SQLite does not tell a full disk from others here.
        grown.map_err(|error| {
            Fault::storage(format!(
                "the file cannot grow to {ahead} bytes, the disk may be full: {error}"
            ))
        })?;
        self.allocated = ahead;
        Ok(())
    }

    /// Adds an item. Numbers must go up.
    pub(crate) fn insert(
        &mut self,
        sequence: u64,
        enqueued: i64,
        parts: Parts<'_>,
    ) -> Result<(), Fault> {
        schema::insert(&self.connection, sequence, enqueued, parts)?;
        self.tally.last = sequence;
        self.tally.last_present = true;
        self.tally.depth += 1;
        self.tally.bytes += parts.size() as u64;
        Ok(())
    }

    /// Deletes the items of a range and says how many there were.
    pub(crate) fn delete(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<u64, Fault> {
        let Ok(first) = i64::try_from(*range.start()) else {
            return Ok(0);
        };
        let last = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        let (rows, bytes): (u64, u64) = self
            .statement(concat!(
                "SELECT count(*), coalesce(sum(",
                size!(),
                "), 0) FROM item WHERE sequence BETWEEN ?1 AND ?2"
            ))?
            .query_row((first, last), |row| Ok((row.get(0)?, row.get(1)?)))?;
        if rows == 0 {
            return Ok(0);
        }
        self.statement("DELETE FROM item WHERE sequence BETWEEN ?1 AND ?2")?
            .execute((first, last))?;
        let marks = u64::from(
            self.tally
                .mark
                .take_if(|mark| range.contains(mark))
                .is_some(),
        );
        if range.contains(&self.tally.last) {
            self.tally.last_present = false;
        }
        self.tally.depth = self.tally.depth.saturating_sub(rows - marks);
        self.tally.bytes = self.tally.bytes.saturating_sub(bytes);
        self.tally.oldest = None;
        Ok(rows - marks)
    }

    /// Sees to it that a row has the last sequence number, and only one mark is there.
    fn keep_last(&mut self) -> Result<(), Fault> {
        if let Some(mark) = self.tally.mark.take_if(|mark| *mark != self.tally.last) {
            self.delete_row(i64::try_from(mark).unwrap_or(i64::MAX))?;
        }
        if !self.tally.last_present {
            schema::insert_mark(&self.connection, self.tally.last)?;
            self.tally.mark = Some(self.tally.last);
            self.tally.last_present = true;
        }
        Ok(())
    }

    pub(crate) fn delete_row(&self, number: i64) -> Result<(), Fault> {
        self.statement("DELETE FROM item WHERE sequence = ?1")?
            .execute([number])?;
        Ok(())
    }

    /// Raises the last sequence number: numbers up to `to` may have been given out. If the disk is full the number is
    /// kept in memory and stored with the next transaction.
    pub(crate) fn raise_last(&mut self, to: u64) -> Result<(), Fault> {
        if to <= self.tally.last && self.tally.last_present {
            return Ok(());
        }
        if to > self.tally.last {
            self.tally.last = to;
            self.tally.last_present = false;
        }
        self.transact(|_| Ok(()))
    }

    fn find_oldest(&self) -> Result<i64, Fault> {
        let oldest = self
            .statement("SELECT enqueued FROM item ORDER BY sequence LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        oldest.ok_or_else(|| Fault::Damaged("items are missing from its table".to_owned()))
    }

    /// Rows after a number, as long as `take` wants more. Fails if they are not in order.
    pub(crate) fn rows(
        &self,
        after: i64,
        mut take: impl FnMut(Row<'_>) -> bool,
    ) -> Result<(), Fault> {
        let mut statement = self.statement(row::AFTER)?;
        let mut rows = statement.query([after])?;
        let mut previous = after;
        while let Some(row) = rows.next()? {
            let row = Row::decode(row)?;
            if row.number <= previous {
                return Err(Fault::Damaged(format!(
                    "row {} follows row {previous}",
                    row.number
                )));
            }
            previous = row.number;
            if !take(row) {
                break;
            }
        }
        Ok(())
    }

    /// Takes damaged rows out of the table. `counted`: they are in the tally.
    pub(crate) fn discard(&mut self, numbers: &[i64], counted: bool) -> Result<(), Fault> {
        for numbers in numbers.chunks(self.space.ranges_per_removal()) {
            self.transact(|store| {
                numbers
                    .iter()
                    .try_for_each(|number| store.discard_row(*number, counted))
            })?;
            self.checkpoint_if_due()?;
        }
        Ok(())
    }

    fn discard_row(&mut self, number: i64, counted: bool) -> Result<(), Fault> {
        let size = concat!("SELECT ", size!(), " FROM item WHERE sequence = ?1");
        let bytes: Option<u64> = self
            .statement(size)?
            .query_row([number], |row| row.get(0))
            .optional()?;
        self.delete_row(number)?;
        if u64::try_from(number) == Ok(self.tally.last) {
            self.tally.last_present = false;
        }
        if counted {
            self.tally.depth = self.tally.depth.saturating_sub(1);
            self.tally.bytes = self.tally.bytes.saturating_sub(bytes.unwrap_or_default());
            self.tally.oldest = None;
        }
        Ok(())
    }

    /// Copies the log into the database when it has grown enough.
    pub(crate) fn checkpoint_if_due(&self) -> Result<(), Fault> {
        if self.frames.load(Relaxed) < self.space.checkpoint_frames() {
            return Ok(());
        }
        self.checkpoint()
    }

    pub(crate) fn checkpoint(&self) -> Result<(), Fault> {
        let (frames, copied) = self
            .connection
            .wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::PASSIVE)?;
        if frames != copied {
            return Err(Fault::storage(format!(
                "{copied} of {frames} pages of its log were copied into the database"
            )));
        }
        self.frames.store(0, Relaxed);
        Ok(())
    }

    /// Pages that can be filled before the file is at its bound.
    pub(crate) fn free_pages(&self) -> Result<u64, Fault> {
        Ok(self.space.pages.saturating_sub(self.page_count()?) + self.free_list()?)
    }

    pub(crate) fn page_count(&self) -> Result<u64, Fault> {
        Ok(self
            .statement("PRAGMA page_count")?
            .query_row([], |row| row.get(0))?)
    }

    pub(crate) fn free_list(&self) -> Result<u64, Fault> {
        Ok(self
            .statement("PRAGMA freelist_count")?
            .query_row([], |row| row.get(0))?)
    }

    fn at_bound(&self) -> bool {
        matches!((self.page_count(), self.free_list()), (Ok(pages), Ok(0)) if pages >= self.space.pages)
    }

    /// Bytes of the files on disk.
    pub(crate) fn file_bytes(&self) -> u64 {
        [&self.path, &self.log]
            .into_iter()
            .map(|file| std::fs::metadata(file).map_or(0, |metadata| metadata.len()))
            .sum()
    }

    /// Closes the file; the log is copied into it and deleted.
    pub(crate) fn close(self) -> Result<(), Fault> {
        self.connection.close().map_err(|(_, error)| error.into())
    }

    pub(crate) fn statement(&self, sql: &'static str) -> Result<CachedStatement<'_>, Fault> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}
