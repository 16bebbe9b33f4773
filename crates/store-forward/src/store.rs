//! The database: transactions on the tables of items, and what it takes of the disk.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use rusqlite::{CachedStatement, Connection, FileControl, OpenFlags, OptionalExtension};

use crate::age::{AgeClock, Now};
use crate::fault::Fault;
use crate::folder::log_of;
use crate::item::Priority;
use crate::log;
use crate::options::{QueueOptions, WhenFull};
use crate::row::{self, Parts, Row, Terms, per_priority, size};
use crate::schema;
use crate::space::{FRAME, PAGE, Space};
use crate::tally::{Content, Lots, Tally};

/// Pages by which the file grows beyond what is needed at once.
const GROWTH: u64 = 16;
/// Statements that are kept: most are there once for each priority.
const STATEMENTS: usize = 64;

/// An open database and what is known of its content.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: Connection,
    pub(crate) space: Space,
    pub(crate) when_full: WhenFull,
    pub(crate) tally: Tally,
    path: PathBuf,
    log: PathBuf,
    /// The database's file, to reserve space. Closed after the connection: closing it ends the locks that SQLite has.
    file: Option<File>,
    /// Bytes of the database's file on disk.
    allocated: u64,
    /// Frames in the log, told by SQLite at each commit.
    pub(crate) frames: Arc<AtomicU64>,
    /// Bytes given to the disk since the file was opened.
    pub(crate) written: u64,
    pub(crate) clock: Arc<dyn crate::age::Clock>,
    pub(crate) age: AgeClock,
    /// When the queue's time was last written down, and when expired items were last looked for, by that time.
    pub(crate) anchored: Option<i64>,
    pub(crate) swept: Option<i64>,
    /// What was left at the last closing.
    pub(crate) note: Option<bytes::Bytes>,
}

impl Store {
    /// Opens or creates the file, without a look at its content.
    pub(crate) fn connect(path: &Path, options: &QueueOptions) -> Result<Self, Fault> {
        let space = Space::new(options.max_bytes);
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
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
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
            when_full: options.when_full,
            tally: Tally::default(),
            path: path.to_owned(),
            log: log_of(path),
            file: None,
            allocated,
            frames,
            written: 0,
            clock: Arc::clone(&options.clock),
            age: AgeClock::default(),
            anchored: None,
            swept: None,
            note: None,
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
        let before = self.tally.clone();
        let frames = self.frames.load(Relaxed);
        let result = self.begin_and_commit(work);
        self.written += self.frames.load(Relaxed).saturating_sub(frames) * FRAME;
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
        self.find_ends()?;
        self.keep_gone()?;
        self.anchor_if_due()?;
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
        let failed = |error: &dyn std::fmt::Display| {
            Fault::storage(format!(
                "the file cannot grow to {ahead} bytes, the disk may be full: {error}"
            ))
        };
        match self.reserve(ahead) {
            Ok(()) => {}
            // SQLite writes into every block, which is once more than needed.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                let mut bytes = i64::try_from(ahead).unwrap_or(i64::MAX);
                self.connection
                    .file_control(None::<&str>, FileControl::SizeHint(&mut bytes))
                    .map_err(|error| failed(&error))?;
            }
            Err(error) => return Err(failed(&error.desc())),
        }
        self.allocated = ahead;
        Ok(())
    }

    /// Lets the file system set blocks aside without writing them.
    fn reserve(&mut self, bytes: u64) -> Result<(), Errno> {
        let error =
            |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = File::options().write(true).open(&self.path);
                self.file.insert(file.map_err(error)?)
            }
        };
        let offset = |bytes| i64::try_from(bytes).map_err(|_| Errno::EFBIG);
        fallocate(
            file,
            FallocateFlags::empty(),
            offset(self.allocated)?,
            offset(bytes - self.allocated)?,
        )
    }

    /// Reads the clocks.
    pub(crate) fn now(&mut self) -> Now {
        self.age.now(&self.clock.read())
    }

    /// Adds an item. Numbers must go up within a priority.
    pub(crate) fn insert(
        &mut self,
        sequence: u64,
        enqueued: i64,
        parts: Parts<'_>,
        terms: Terms<'_>,
    ) -> Result<(), Fault> {
        schema::insert(&self.connection, sequence, enqueued, parts, terms)?;
        if terms.expires.is_some() {
            self.age.item_came();
        }
        if sequence >= self.tally.last {
            self.tally.last = sequence;
            self.tally.last_present = true;
        }
        self.tally
            .add(sequence, enqueued, parts.size() as u64, &terms);
        Ok(())
    }

    /// Deletes the items of a range, of all priorities.
    pub(crate) fn delete(&mut self, range: &RangeInclusive<u64>) -> Result<Lots, Fault> {
        let mut lots = Lots::default();
        for priority in Priority::descending() {
            let mark = priority == Priority::DEFAULT
                && self.tally.mark.is_some_and(|mark| range.contains(&mark));
            if mark || self.tally.lanes[priority.index()].may_hold(*range.start(), *range.end()) {
                lots.join(self.delete_in(priority, range)?);
            }
        }
        Ok(lots)
    }

    /// Deletes the items of a range that have a priority.
    pub(crate) fn delete_in(
        &mut self,
        priority: Priority,
        range: &RangeInclusive<u64>,
    ) -> Result<Lots, Fault> {
        const HEADS: [&str; Priority::COUNT] = per_priority!(
            concat!(
                "SELECT sequence, ",
                size!(),
                ", route, expires IS NOT NULL FROM "
            ),
            " WHERE sequence BETWEEN ?1 AND ?2"
        );
        const DELETE: [&str; Priority::COUNT] =
            per_priority!("DELETE FROM ", " WHERE sequence BETWEEN ?1 AND ?2");
        // SQLite then frees the pages as they are. Emptied row by row, each would be written to the log once more; and where
        // what comes is sent at once, this is the everyday case.
        const CLEAR: [&str; Priority::COUNT] = per_priority!("DELETE FROM ", "");
        let mut lots = Lots::default();
        self.find_ends_of(priority.index())?;
        let lane = self.tally.lanes[priority.index()];
        let from_oldest = lane
            .oldest
            .is_some_and(|(oldest, _)| *range.start() <= oldest);
        let Ok(first) = i64::try_from((*range.start()).max(lane.gone.saturating_add(1))) else {
            return Ok(lots);
        };
        let last = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        let (mut any, mut newest) = (false, false);
        let mut highest = 0;
        {
            let mut statement = self.connection.prepare_cached(HEADS[priority.index()])?;
            let mut rows = statement.query((first, last))?;
            while let Some(row) = rows.next()? {
                any = true;
                let sequence: u64 = row.get(0)?;
                newest |= sequence == self.tally.last;
                if priority == Priority::DEFAULT && self.tally.mark == Some(sequence) {
                    continue;
                }
                let bytes = row.get(1)?;
                let route =
                    self.tally
                        .take(priority, row::text(row.get_ref(2)?), bytes, row.get(3)?);
                highest = sequence;
                lots.add(priority, route, Content { items: 1, bytes });
            }
        }
        if !any {
            return Ok(lots);
        }
        let rest = &self.tally.lanes[priority.index()];
        let mark_stays = priority == Priority::DEFAULT
            && self.tally.mark.is_some_and(|mark| !range.contains(&mark));
        if rest.is_empty() && !mark_stays {
            self.statement(CLEAR[priority.index()])?.execute([])?;
            self.tally.lane(priority).gone_bytes = 0;
        } else if from_oldest && !rest.is_empty() {
            let lane = self.tally.lane(priority);
            lane.gone = highest;
            lane.gone_bytes += lots.bytes().max(1);
        } else {
            self.statement(DELETE[priority.index()])?
                .execute((first, last))?;
        }
        if priority == Priority::DEFAULT {
            self.tally.mark.take_if(|mark| range.contains(mark));
        }
        if newest {
            self.tally.last_present = false;
        }
        self.tally.gone(priority, *range.start(), *range.end());
        Ok(lots)
    }

    /// Whether a row of any table has a number.
    fn holds(&self, sequence: u64) -> Result<bool, Fault> {
        const HOLDS: [&str; Priority::COUNT] =
            per_priority!("SELECT EXISTS (SELECT 1 FROM ", " WHERE sequence = ?1)");
        for sql in HOLDS {
            if self
                .statement(sql)?
                .query_row([sequence], |row| row.get::<_, bool>(0))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sees to it that a row has the last sequence number, and only one mark is there.
    fn keep_last(&mut self) -> Result<(), Fault> {
        if let Some(mark) = self.tally.mark.take_if(|mark| *mark != self.tally.last) {
            self.delete_row(Priority::DEFAULT, i64::try_from(mark).unwrap_or(i64::MAX))?;
        }
        if !self.tally.last_present {
            schema::insert_mark(&self.connection, self.tally.last)?;
            self.tally.mark = Some(self.tally.last);
            self.tally.last_present = true;
        }
        Ok(())
    }

    fn delete_row(&self, priority: Priority, number: i64) -> Result<(), Fault> {
        const DELETE: [&str; Priority::COUNT] =
            per_priority!("DELETE FROM ", " WHERE sequence = ?1");
        self.statement(DELETE[priority.index()])?
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

    /// Looks up the ends of the tables that are not known.
    fn find_ends(&mut self) -> Result<(), Fault> {
        (0..Priority::COUNT).try_for_each(|index| self.find_ends_of(index))
    }

    fn find_ends_of(&mut self, index: usize) -> Result<(), Fault> {
        const OLDEST: [&str; Priority::COUNT] = per_priority!(
            "SELECT sequence, enqueued FROM ",
            " WHERE sequence > ?1 AND enqueued >= 0 ORDER BY sequence LIMIT 1"
        );
        const NEWEST: [&str; Priority::COUNT] = per_priority!(
            "SELECT sequence FROM ",
            " WHERE enqueued >= 0 ORDER BY sequence DESC LIMIT 1"
        );
        let mut lane = self.tally.lanes[index];
        if lane.is_empty() || (lane.oldest.is_some() && lane.newest.is_some()) {
            return Ok(());
        }
        if lane.oldest.is_none() {
            let gone = i64::try_from(lane.gone).unwrap_or(i64::MAX);
            lane.oldest = self
                .statement(OLDEST[index])?
                .query_row([gone], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
        }
        if lane.newest.is_none() {
            lane.newest = self
                .statement(NEWEST[index])?
                .query_row([], |row| row.get(0))
                .optional()?;
        }
        if lane.oldest.is_none() || lane.newest.is_none() {
            return Err(Fault::Damaged(
                "items are missing from its tables".to_owned(),
            ));
        }
        self.tally.lanes[index] = lane;
        Ok(())
    }

    /// Rows of a priority after a number and up to another, as long as `take` wants more. Fails if they are not in order.
    pub(crate) fn rows(
        &self,
        priority: Priority,
        after: i64,
        until: i64,
        mut take: impl FnMut(Row<'_>) -> bool,
    ) -> Result<(), Fault> {
        let gone = i64::try_from(self.tally.lanes[priority.index()].gone).unwrap_or(i64::MAX);
        // Before the scan nothing is gone, and the lowest number of all is asked for.
        let after = if gone > 0 { after.max(gone) } else { after };
        let mut statement = self.statement(row::ROWS[priority.index()])?;
        let mut rows = statement.query((after, until))?;
        let mut previous = after;
        while let Some(row) = rows.next()? {
            let row = Row::decode(priority, row)?;
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

    /// Takes damaged rows out of the tables. `counted`: they are in the tally. `done`: how many are out, also where it fails then.
    pub(crate) fn discard(
        &mut self,
        rows: &[(Priority, i64)],
        counted: bool,
        done: &mut usize,
    ) -> Result<(), Fault> {
        for rows in rows.chunks(self.space.rows_per_removal()) {
            self.transact(|store| {
                rows.iter().try_for_each(|(priority, number)| {
                    store.discard_row(*priority, *number, counted)
                })
            })?;
            *done += rows.len();
            self.checkpoint_if_due()?;
        }
        Ok(())
    }

    /// Size and route of a damaged row are taken as it says; that it is one less is certain.
    fn discard_row(&mut self, priority: Priority, number: i64, counted: bool) -> Result<(), Fault> {
        const HEAD: [&str; Priority::COUNT] = per_priority!(
            concat!("SELECT ", size!(), ", route, expires IS NOT NULL FROM "),
            " WHERE sequence = ?1"
        );
        if counted {
            let mut statement = self.connection.prepare_cached(HEAD[priority.index()])?;
            let mut rows = statement.query([number])?;
            if let Some(row) = rows.next()? {
                let known = self.tally.known(row::text(row.get_ref(1)?));
                let size = row.get(0).unwrap_or_default();
                self.tally.take(priority, known.stored(), size, row.get(2)?);
            }
        }
        self.delete_row(priority, number)?;
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        if number == self.tally.last {
            self.tally.last_present = self.holds(number)?;
        }
        if counted {
            self.tally.gone(priority, number, number);
        }
        Ok(())
    }

    /// Copies the log into the database when it has grown enough.
    pub(crate) fn checkpoint_if_due(&mut self) -> Result<(), Fault> {
        if self.frames.load(Relaxed) < self.space.checkpoint_frames() {
            return Ok(());
        }
        self.checkpoint()
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), Fault> {
        self.copy_log(rusqlite::wal::CheckpointMode::PASSIVE)
    }

    pub(crate) fn copy_log(&mut self, mode: rusqlite::wal::CheckpointMode) -> Result<(), Fault> {
        let pages = log::distinct_pages(&self.log, self.frames.load(Relaxed));
        let (frames, copied) = self.connection.wal_checkpoint_v2(None::<&str>, mode)?;
        if frames != copied {
            return Err(Fault::storage(format!(
                "{copied} of {frames} pages of its log were copied into the database"
            )));
        }
        self.written += pages * PAGE;
        self.frames.store(0, Relaxed);
        Ok(())
    }

    /// The file has become shorter.
    pub(crate) fn measure(&mut self) {
        self.allocated = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
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
    pub(crate) fn close(mut self) -> Result<(), Fault> {
        if self.tally.timed() > 0 {
            // Without it the time since the last one does not count after a restart of the machine.
            self.anchored = None;
            if let Err(fault) = self.transact(|_| Ok(())) {
                tracing::debug!(
                    reason = fault.message(),
                    "the queue's time was not written down"
                );
            }
        }
        self.connection.close().map_err(|(_, error)| error.into())
    }

    pub(crate) fn statement(&self, sql: &'static str) -> Result<CachedStatement<'_>, Fault> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}
