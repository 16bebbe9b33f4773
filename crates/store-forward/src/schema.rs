//! The layout of the file and how an older one becomes today's.

use rusqlite::Connection;

use crate::fault::Fault;
use crate::row::{MARK, Parts};

/// Written into the file twice, as `user_version` and in the last byte of `application_id`, so that one damaged byte
/// does not pass for a newer release.
pub(crate) const VERSION: u32 = 1;

/// `application_id`: "FGQ" and the version.
const APPLICATION: u32 = u32::from_be_bytes(*b"FGQ\0");

/// Step n brings a file from version n to n + 1.
const MIGRATIONS: [&str; VERSION as usize] = [ITEM];

/// Small columns first: they can be read without the overflow pages of a large payload. `key` and `id` are text so that
/// the sqlite3 shell shows them.
const ITEM: &str = "CREATE TABLE item (
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

/// Reads the version. A file of anything else than this queue counts as damaged.
pub(crate) fn version(connection: &Connection) -> Result<Version, Fault> {
    let user: u32 = number(connection, "user_version")?;
    let application: u32 = number(connection, "application_id")?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match user {
        0 if application == 0 && tables == 0 => Ok(Version::Empty),
        1..=0xff if application == APPLICATION + user => Ok(if user <= VERSION {
            Version::Known(user)
        } else {
            Version::Newer(user)
        }),
        _ => Err(Fault::Damaged(format!(
            "it is not a queue: user_version {user}, application_id {application:#x}"
        ))),
    }
}

/// Brings the file to [`VERSION`], one transaction per step.
pub(crate) fn migrate(connection: &Connection, from: u32) -> Result<(), Fault> {
    for (step, sql) in (1..).zip(MIGRATIONS).skip(from as usize) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(sql)?;
        if step == 1 {
            // The table is never empty: an empty one is a damaged one.
            insert_mark(connection, 0)?;
        }
        transaction.pragma_update(None, "user_version", step)?;
        transaction.pragma_update(None, "application_id", APPLICATION + step)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Whether the tables are the ones of [`VERSION`], to the letter.
pub(crate) fn check(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT sql FROM sqlite_schema")?;
    let found = statement
        .query_map([], |row| row.get::<_, Option<String>>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    if found == [Some(ITEM.to_owned())] {
        Ok(())
    } else {
        Err(Fault::Damaged("its schema is not the queue's".to_owned()))
    }
}

/// Keeps a sequence number as the highest in the table although no item has it.
pub(crate) fn insert_mark(connection: &Connection, sequence: u64) -> Result<(), Fault> {
    insert(connection, sequence, MARK, Parts::NONE)
}

/// Adds a row.
pub(crate) fn insert(
    connection: &Connection,
    sequence: u64,
    enqueued: i64,
    parts: Parts<'_>,
) -> Result<(), Fault> {
    let number = i64::try_from(sequence)
        .map_err(|_| Fault::Damaged(format!("sequence {sequence} is out of range")))?;
    connection
        .prepare_cached("INSERT INTO item (sequence, enqueued, checksum, key, id, properties, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute((number, enqueued, parts.checksum(sequence, enqueued), parts.key, parts.id, parts.properties, parts.payload))?;
    Ok(())
}

/// A pragma that is one number.
pub(crate) fn number<T: rusqlite::types::FromSql>(
    connection: &Connection,
    pragma: &str,
) -> Result<T, Fault> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}
