//! Items that are gone and whose rows are still there.
//!
//! Deleting a row writes its page to the log once more, also if the page is free afterwards: SQLite's log takes every page that
//! was touched. At the everyday rate that would be as much as storing the items. So what leaves a priority from its oldest item
//! on is only written down as a number, up to which items are gone. Their rows are deleted when the table is empty, which costs
//! nothing; when they are many and what is left is little, which is then written anew; or when the room is needed.

use rusqlite::types::Value;

use crate::fault::Fault;
use crate::item::Priority;
use crate::row::{ROWS, per_priority, size};
use crate::schema;
use crate::store::Store;

impl Store {
    /// Reads how far items are gone. A row that is not sound does not count: its items come again.
    pub(crate) fn load_gone(&mut self) -> Result<(), Fault> {
        const BYTES: [&str; Priority::COUNT] = per_priority!(
            concat!("SELECT coalesce(sum(1 + ", size!(), "), 0) FROM "),
            " WHERE sequence <= ?1"
        );
        for (priority, until) in load(&self.connection)? {
            let last = i64::try_from(until).unwrap_or(i64::MAX);
            let bytes = self
                .statement(BYTES[priority.index()])?
                .query_row([last], |row| row.get(0))?;
            let lane = self.tally.lane(priority);
            (lane.gone, lane.gone_stored) = (until, until);
            lane.gone_bytes = bytes;
        }
        Ok(())
    }

    /// Writes down within a transaction how far items are gone.
    pub(crate) fn keep_gone(&mut self) -> Result<(), Fault> {
        for priority in Priority::descending() {
            let lane = self.tally.lanes[priority.index()];
            if lane.gone == lane.gone_stored || lane.gone_bytes == 0 {
                continue;
            }
            store(&self.connection, priority, lane.gone)?;
            self.tally.lane(priority).gone_stored = lane.gone;
        }
        Ok(())
    }

    /// Deletes rows of items that are gone, where they are many.
    pub(crate) fn delete_gone(&mut self) -> Result<(), Fault> {
        for priority in Priority::descending() {
            if self.tally.lanes[priority.index()].gone_bytes > self.space.gone_bytes() {
                self.delete_gone_of(priority)?;
            }
        }
        Ok(())
    }

    /// Deletes rows of items that are gone until so many pages are free.
    pub(crate) fn delete_gone_for(&mut self, pages: u64) -> Result<(), Fault> {
        for priority in Priority::descending() {
            while self.tally.lanes[priority.index()].gone_bytes > 0 && self.free_pages()? < pages {
                self.delete_gone_of(priority)?;
            }
        }
        Ok(())
    }

    pub(crate) fn has_gone(&self) -> bool {
        self.tally.lanes.iter().any(|lane| lane.gone_bytes > 0)
    }

    /// Deletes rows of items of a priority that are gone: all of them, or as many as one transaction should.
    fn delete_gone_of(&mut self, priority: Priority) -> Result<(), Fault> {
        const DELETE: [&str; Priority::COUNT] =
            per_priority!("DELETE FROM ", " WHERE sequence <= ?1");
        let lane = self.tally.lanes[priority.index()];
        if lane.content.bytes <= lane.gone_bytes / 2
            && lane.content.bytes <= self.space.gone_bytes()
        {
            self.write_anew(priority)?;
            self.tally.lane(priority).gone_bytes = 0;
            return Ok(());
        }
        let (until, bytes) = self.gone_until(priority, lane.gone)?;
        let last = i64::try_from(until).unwrap_or(i64::MAX);
        self.statement(DELETE[priority.index()])?.execute([last])?;
        let lane = self.tally.lane(priority);
        lane.gone_bytes = if until >= lane.gone {
            0
        } else {
            lane.gone_bytes.saturating_sub(bytes).max(1)
        };
        Ok(())
    }

    /// Up to which number the rows of items that are gone have as many bytes as one transaction should delete.
    fn gone_until(&self, priority: Priority, gone: u64) -> Result<(u64, u64), Fault> {
        const SIZES: [&str; Priority::COUNT] = per_priority!(
            concat!("SELECT sequence, ", size!(), " FROM "),
            " WHERE sequence <= ?1 ORDER BY sequence"
        );
        let last = i64::try_from(gone).unwrap_or(i64::MAX);
        let mut statement = self.statement(SIZES[priority.index()])?;
        let mut rows = statement.query([last])?;
        let mut sum: u64 = 0;
        while let Some(row) = rows.next()? {
            // A damaged row may say anything of its size.
            sum = sum.saturating_add(row.get(1).unwrap_or_default());
            if sum >= self.space.gone_bytes() {
                return Ok((row.get(0).unwrap_or(gone), sum));
            }
        }
        Ok((gone, sum))
    }

    /// Keeps the rows of a table that are still needed, as they are, and frees its pages without writing them.
    fn write_anew(&mut self, priority: Priority) -> Result<(), Fault> {
        const CLEAR: [&str; Priority::COUNT] = per_priority!("DELETE FROM ", "");
        let gone = self.tally.lanes[priority.index()].gone;
        let after = i64::try_from(gone).unwrap_or(i64::MAX);
        let kept = {
            let mut statement = self.statement(ROWS[priority.index()])?;
            let rows = statement.query_map((after, i64::MAX), |row| {
                (0..schema::COLUMNS)
                    .map(|column| row.get(column))
                    .collect::<Result<Vec<Value>, _>>()
            })?;
            rows.collect::<Result<Vec<_>, _>>()?
        };
        self.statement(CLEAR[priority.index()])?.execute([])?;
        let mut insert = self.statement(schema::INSERT[priority.index()])?;
        for row in kept {
            insert.execute(rusqlite::params_from_iter(row))?;
        }
        Ok(())
    }
}

/// How far items are gone, by priority.
pub(crate) fn load(connection: &rusqlite::Connection) -> Result<Vec<(Priority, u64)>, Fault> {
    let mut statement =
        connection.prepare("SELECT priority, until FROM gone WHERE until + again = 0")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u8>(0)?, row.get::<_, u64>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (priority, until) = row?;
        found.extend(Priority::new(priority).map(|priority| (priority, until)));
    }
    Ok(found)
}

/// Writes down how far items of a priority are gone.
fn store(connection: &rusqlite::Connection, priority: Priority, until: u64) -> Result<(), Fault> {
    let until = i64::try_from(until).unwrap_or(i64::MAX);
    connection
        .prepare_cached("INSERT OR REPLACE INTO gone (priority, until, again) VALUES (?1, ?2, ?3)")?
        .execute((priority.get(), until, -until))?;
    Ok(())
}
