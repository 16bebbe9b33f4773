//! The way back to an older release, which a file carries in itself.
//!
//! An update that is taken back starts the older release again, on the file of the newer one. The older one cannot know
//! the newer layout, so each step forward stores the SQL that undoes it. This release takes that way whole or not at all:
//! one transaction leads to its own version, or the file stays what it was.
//!
//! The form of [`TABLE`] is the same for ever: releases that do not know what comes after them read it.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::fault::Fault;
use crate::schema::{self, Release, Step};

/// Made by the step to version 2, gone with the way back to version 1. `version` is the one that is left; `lost` is empty,
/// or a SELECT of how many items `undo` cannot carry, for the `reason`; `checksum` is of the other columns.
pub(crate) const TABLE: &str = "CREATE TABLE way_back (
  version INTEGER PRIMARY KEY,
  checksum INTEGER NOT NULL,
  undo TEXT NOT NULL,
  lost TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT";

/// Bytes of all that is read of the table.
const LONGEST: u64 = 1024 * 1024;

/// How a step is undone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WayBack {
    /// Statements that lead to the tables of the version before, to the letter.
    pub(crate) undo: &'static str,
    /// Items that they cannot carry.
    pub(crate) lost: Option<Lost>,
}

/// Items that are lost on the way back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    /// A SELECT of their number, as it is before.
    pub(crate) count: &'static str,
    /// Why, for people.
    pub(crate) reason: &'static str,
}

/// What did not come along.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) items: u64,
    pub(crate) reason: Option<String>,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    version: u32,
    checksum: u32,
    undo: String,
    lost: String,
    reason: String,
}

impl Row {
    fn of(version: u32, back: &WayBack) -> Self {
        let lost = back.lost.as_ref();
        let mut row = Self {
            version,
            checksum: 0,
            undo: back.undo.to_owned(),
            lost: lost.map_or("", |lost| lost.count).to_owned(),
            reason: lost.map_or("", |lost| lost.reason).to_owned(),
        };
        row.checksum = row.sum();
        row
    }

    fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            version: row.get(0)?,
            checksum: row.get(1)?,
            undo: row.get(2)?,
            lost: row.get(3)?,
            reason: row.get(4)?,
        })
    }

    fn insert(&self, connection: &Connection) -> Result<(), Fault> {
        connection.execute(
            "INSERT INTO way_back (version, checksum, undo, lost, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
            (self.version, self.checksum, &self.undo, &self.lost, &self.reason),
        )?;
        Ok(())
    }

    /// CRC-32 with lengths, so that nothing can move from one part to its neighbour.
    fn sum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.version.to_le_bytes());
        for part in [&self.undo, &self.lost, &self.reason] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize()
    }
}

impl WayBack {
    /// Stores the way back from a version, in the transaction that leads to it.
    pub(crate) fn store(&self, connection: &Connection, version: u32) -> Result<(), Fault> {
        Row::of(version, self).insert(connection)
    }
}

/// Puts the ways back of a file of this release right, if they are not as this release writes them: damaged, or of an
/// earlier build.
pub(crate) fn renew(connection: &Connection, steps: &[Step]) -> Result<(), Fault> {
    if steps.is_empty() {
        return Ok(());
    }
    let found = connection
        .prepare("SELECT version, checksum, undo, lost, reason FROM way_back ORDER BY version")?
        .query_map([], Row::decode)?
        .collect::<Result<Vec<_>, _>>();
    let own: Vec<_> = (2..)
        .zip(steps)
        .map(|(version, step)| Row::of(version, &step.back))
        .collect();
    if found.is_ok_and(|found| found == own) {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("DELETE FROM way_back", [])?;
    for row in own {
        row.insert(connection)?;
    }
    Ok(transaction.commit()?)
}

/// Brings a file of version `found` back to a release's version, if the file says how. `beyond`: a sequence number that it
/// has not reached, for the case that items with the highest ones are left behind.
///
/// A full disk and the like fail as what they are, everything else as [`Fault::Newer`]. After a failure the file is what
/// it was.
pub(crate) fn take(
    connection: &mut Connection,
    release: &Release,
    found: u32,
    beyond: u64,
) -> Result<Left, Fault> {
    let taken = read(connection, release.version(), found).and_then(|steps| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let left = undo(connection, &steps);
        // Also after it failed: what comes then is this release's own.
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        let left = left.and_then(|left| {
            finish(connection, release, &left, beyond)?;
            Ok(left)
        });
        if left.is_err() && !connection.is_autocommit() {
            // Should this fail too, closing the file does the same.
            let _ = connection.execute_batch("ROLLBACK");
        }
        left
    });
    taken.map_err(|fault| match words(fault) {
        Ok(reason) => Fault::Newer { found, reason },
        Err(passing) => passing,
    })
}

/// What is the matter with the way, unless it is the disk, which may be better at the next attempt.
fn words(fault: Fault) -> Result<String, Fault> {
    match fault {
        Fault::Damaged(reason)
        | Fault::Newer { reason, .. }
        | Fault::Storage {
            reason,
            retryable: false,
        } => Ok(reason),
        passing => Err(passing),
    }
}

/// The steps back, the newest first, if none is missing and each is as it was written.
fn read(connection: &Connection, known: u32, found: u32) -> Result<Vec<Row>, Fault> {
    let form: Option<String> = connection
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'way_back'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if form.as_deref() != Some(TABLE) {
        return Err(Fault::Damaged("it carries no way back".to_owned()));
    }
    let bytes: u64 = connection.query_row(
        "SELECT coalesce(sum(octet_length(undo) + octet_length(lost) + octet_length(reason)), 0) FROM way_back",
        [],
        |row| row.get(0),
    )?;
    if bytes > LONGEST {
        return Err(Fault::Damaged(format!(
            "the way back that it carries has {bytes} bytes, more than {LONGEST}"
        )));
    }
    let mut statement = connection
        .prepare("SELECT version, checksum, undo, lost, reason FROM way_back WHERE version = ?1")?;
    (known + 1..=found)
        .rev()
        .map(|version| {
            let row = statement
                .query_row([version], Row::decode)
                .optional()
                .ok()
                .flatten();
            row.filter(|row| row.version == version && row.sum() == row.checksum)
                .ok_or_else(|| {
                    Fault::Damaged(format!(
                        "the way back from version {version} that it carries is missing or damaged"
                    ))
                })
        })
        .collect()
}

/// Undoes the steps, within a transaction and with no more rights than that takes.
fn undo(connection: &mut Connection, steps: &[Row]) -> Result<Left, Fault> {
    connection.authorizer(Some(allowed))?;
    let mut left = Left::default();
    for step in steps {
        let failed = |fault: Fault| match words(fault) {
            Ok(reason) => Fault::Damaged(format!(
                "the way back from version {} that it carries failed: {reason}",
                step.version
            )),
            Err(passing) => passing,
        };
        let items = lost(connection, step).map_err(failed)?;
        if items > 0 {
            left.items = left.items.saturating_add(items);
            left.reason = Some(match left.reason.take() {
                Some(reason) => format!("{reason}; {items} more: {}", step.reason),
                None => format!(
                    "{items} items of a newer release were lost: {}",
                    step.reason
                ),
            });
        }
        connection
            .execute_batch(&step.undo)
            .map_err(|error| failed(error.into()))?;
        connection.execute("DELETE FROM way_back WHERE version = ?1", [step.version])?;
    }
    Ok(left)
}

/// How many items a step cannot carry.
fn lost(connection: &Connection, step: &Row) -> Result<u64, Fault> {
    if step.lost.is_empty() {
        return Ok(0);
    }
    let mut statement = connection.prepare(&step.lost)?;
    if !statement.readonly() {
        return Err(Fault::Damaged("its count of losses writes".to_owned()));
    }
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Ends the way: the file is this release's in every respect, or the transaction fails.
fn finish(
    connection: &Connection,
    release: &Release,
    left: &Left,
    beyond: u64,
) -> Result<(), Fault> {
    if release.version() == 1 {
        connection.execute_batch("DROP TABLE way_back")?;
    }
    release.check(connection).map_err(|_| {
        Fault::Damaged(format!(
            "the way back that it carries does not lead to the tables of version {}",
            release.version()
        ))
    })?;
    if left.items > 0 {
        schema::renew_mark(connection, beyond)?;
    }
    schema::set_version(connection, release.version())?;
    Ok(connection.execute_batch("COMMIT")?)
}

/// A way back changes tables and rows of this file, and nothing else.
fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::DropVtable { .. }
        | AuthAction::Unknown { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

#[cfg(test)]
mod tests;
