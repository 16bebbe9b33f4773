//! The layout of the file and how an older one becomes today's.
//!
//! The data partition outlives an update and its withdrawal, so a file is opened by releases that are older than the one
//! that wrote it. The rules for a new version are in the crate's documentation, "Schema versions".

mod second;

use rusqlite::Connection;

use crate::fault::Fault;
use crate::item::Priority;
use crate::row::{MARK, Parts, Terms, per_priority};
use crate::way_back::{self, WayBack};

/// What a release knows of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    /// The first one leads from version 1 to 2, and so on.
    pub(crate) steps: &'static [Step],
    /// Its tables, to the letter, without [`way_back::TABLE`].
    pub(crate) tables: &'static [&'static str],
}

/// From one version to the next, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) forward: &'static str,
    pub(crate) back: WayBack,
}

/// This release.
pub(crate) const THIS: Release = Release {
    steps: &[second::STEP],
    tables: &second::TABLES,
};

/// Written into the file twice, as `user_version` and in the last byte of `application_id`, so that one damaged byte
/// does not pass for a newer release.
pub(crate) const VERSION: u32 = THIS.version();

/// `application_id`: "FGQ" and the version.
pub(crate) const APPLICATION: u32 = u32::from_be_bytes(*b"FGQ\0");

/// The first table's page in a fresh file. The others follow: [`header::restore`](crate::header::restore) relies on it.
const ROOT: u32 = 2;
/// What has a page of its own, in the order of the pages of a fresh file and of one that SQLite wrote anew.
const IN_PLACE: [&str; 24] = [
    "item",
    "way_back",
    "item_0",
    "item_1",
    "item_2",
    "item_3",
    "item_4",
    "item_6",
    "item_7",
    "item_8",
    "item_9",
    "clock",
    "gone",
    "note",
    "expires_5",
    "expires_0",
    "expires_1",
    "expires_2",
    "expires_3",
    "expires_4",
    "expires_6",
    "expires_7",
    "expires_8",
    "expires_9",
];

/// Version 1. Small columns first: they can be read without the overflow pages of a large payload. `key` and `id` are text so that
/// the sqlite3 shell shows them.
pub(crate) const ITEM: &str = "CREATE TABLE item (
  sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL
) STRICT";

/// What a file says about its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A file without content.
    Empty,
    Known(u32),
    Newer(u32),
}

impl Release {
    /// The version of the layout it writes.
    pub(crate) const fn version(&self) -> u32 {
        1 + self.steps.len() as u32
    }

    /// Reads the version of a file. One of anything else than this queue counts as damaged.
    pub(crate) fn version_of(&self, connection: &Connection) -> Result<Version, Fault> {
        let user: u32 = number(connection, "user_version")?;
        let application: u32 = number(connection, "application_id")?;
        let tables: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        match user {
            0 if application == 0 && tables == 0 => Ok(Version::Empty),
            1..=0xff if application == APPLICATION + user => Ok(if user <= self.version() {
                Version::Known(user)
            } else {
                Version::Newer(user)
            }),
            _ => Err(Fault::Damaged(format!(
                "it is not a queue: user_version {user}, application_id {application:#x}"
            ))),
        }
    }

    /// Brings the file to this release's version, one transaction per step. 0: it is empty.
    pub(crate) fn migrate(&self, connection: &Connection, from: u32) -> Result<(), Fault> {
        if from == 0 {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute_batch(ITEM)?;
            // The table is never empty: an empty one is a damaged one.
            insert_mark(connection, 0)?;
            set_version(connection, 1)?;
            transaction.commit()?;
        }
        for (version, step) in (2..).zip(self.steps).skip(from.saturating_sub(1) as usize) {
            let transaction = connection.unchecked_transaction()?;
            if version == 2 {
                transaction.execute_batch(way_back::TABLE)?;
            }
            transaction.execute_batch(step.forward)?;
            step.back.store(connection, version)?;
            set_version(connection, version)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Whether the tables are this release's, to the letter.
    pub(crate) fn check(&self, connection: &Connection) -> Result<(), Fault> {
        let mut statement =
            connection.prepare("SELECT coalesce(sql, '') FROM sqlite_schema ORDER BY 1")?;
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let mut own = self.tables.to_vec();
        if self.version() > 1 {
            own.push(way_back::TABLE);
        }
        own.sort_unstable();
        if found == own {
            Ok(())
        } else {
            Err(Fault::Damaged("its schema is not the queue's".to_owned()))
        }
    }
}

/// Says which version the file is of.
pub(crate) fn set_version(connection: &Connection, version: u32) -> Result<(), Fault> {
    connection.pragma_update(None, "user_version", version)?;
    connection.pragma_update(None, "application_id", APPLICATION + version)?;
    Ok(())
}

/// Whether the tables are where a fresh file has them.
pub(crate) fn is_in_place(connection: &Connection) -> Result<bool, Fault> {
    let mut statement =
        connection.prepare("SELECT name, rootpage FROM sqlite_schema ORDER BY rootpage")?;
    let found = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, u32)>, _>>()?;
    Ok(found.len() == IN_PLACE.len()
        && (ROOT..)
            .zip(IN_PLACE)
            .zip(&found)
            .all(|((root, name), found)| (name, root) == (found.0.as_str(), found.1)))
}

/// Leaves no doubt about the last sequence number where items with the highest ones may have gone.
pub(crate) fn renew_mark(connection: &Connection, sequence: u64) -> Result<(), Fault> {
    let mut last: u64 = 0;
    for table in per_priority!("", "") {
        let there: bool = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )?;
        if there {
            let sql = format!("SELECT coalesce(max(sequence), 0) FROM {table}");
            last = last.max(connection.query_row(&sql, [], |row| row.get(0))?);
        }
    }
    connection.execute("DELETE FROM item WHERE enqueued = ?1", [MARK])?;
    insert_mark(connection, sequence.max(last.saturating_add(1)))
}

/// Keeps a sequence number as the highest in the table although no item has it. Serves every version.
pub(crate) fn insert_mark(connection: &Connection, sequence: u64) -> Result<(), Fault> {
    let parts = Parts::NONE;
    connection
        .prepare_cached("INSERT INTO item (sequence, enqueued, checksum, key, id, properties, payload) VALUES (?1, ?2, ?3, '', '', x'', x'')")?
        .execute((number_of(sequence)?, MARK, parts.checksum(sequence, MARK)))?;
    Ok(())
}

/// Adds a row, with the columns of [`ROWS`](crate::row::ROWS) in their order.
pub(crate) const INSERT: [&str; Priority::COUNT] = per_priority!(
    "INSERT INTO ",
    " (sequence, enqueued, checksum, key, id, properties, payload, route, lifetime, expires, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);
pub(crate) const COLUMNS: usize = 11;

/// Adds a row.
pub(crate) fn insert(
    connection: &Connection,
    sequence: u64,
    enqueued: i64,
    parts: Parts<'_>,
    terms: Terms<'_>,
) -> Result<(), Fault> {
    let checksum = parts.checksum(sequence, enqueued);
    connection
        .prepare_cached(INSERT[terms.priority.index()])?
        .execute((
            number_of(sequence)?,
            enqueued,
            checksum,
            parts.key,
            parts.id,
            parts.properties,
            parts.payload,
            terms.route,
            terms.lifetime,
            terms.expires,
            terms.seal(sequence, checksum),
        ))?;
    Ok(())
}

fn number_of(sequence: u64) -> Result<i64, Fault> {
    i64::try_from(sequence)
        .map_err(|_| Fault::Damaged(format!("sequence {sequence} is out of range")))
}

/// A pragma that is one number.
pub(crate) fn number<T: rusqlite::types::FromSql>(
    connection: &Connection,
    pragma: &str,
) -> Result<T, Fault> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}

#[cfg(test)]
mod tests;
