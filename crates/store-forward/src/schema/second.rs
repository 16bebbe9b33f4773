//! Version 2: a table for each priority, routes and lifetimes.
//!
//! Each table is a queue of its own in the order of the sequence. So one priority is read without a look at the others, and
//! what leaves one leaves whole pages; in one table for all, what remains of the other priorities would hold its pages.
//! `item` of version 1 is the table of the default priority: its rows stay where they are.

use super::Step;
use crate::way_back::{Lost, WayBack};

/// From version 1 and back.
pub(crate) const STEP: Step = Step {
    forward: FORWARD,
    back: WayBack {
        undo: UNDO,
        lost: Some(Lost {
            count: LOST,
            reason: "their rows are damaged",
        }),
    },
};

macro_rules! columns {
    () => {
        "sequence, enqueued, checksum, key, id, properties, payload"
    };
}

/// What version 1 had. To the letter.
macro_rules! first {
    () => {
        "sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL"
    };
}

/// That of the default priority, with what is new. `route` NULL: the default. `lifetime` and `expires` in milliseconds, the
/// latter by the queue's own time. `seal`: checksum of these, of the priority and of the row's other checksum; NULL if there is
/// nothing to seal.
macro_rules! fifth {
    () => {
        concat!(
            "CREATE TABLE item (\n  ",
            first!(),
            "\n, route TEXT, lifetime INTEGER, expires INTEGER, seal INTEGER) STRICT"
        )
    };
}

/// Those of the other priorities. Short, because all of the schema has to stay on the first page, from where it can be
/// restored. What must not be NULL is seen when a row is read.
macro_rules! table {
    ($name:literal) => {
        concat!(
            "CREATE TABLE ",
            $name,
            "(sequence INTEGER PRIMARY KEY,enqueued INT,checksum INT,key TEXT,id TEXT,properties BLOB,payload BLOB,route TEXT,lifetime INT,expires INT,seal INT)STRICT"
        )
    };
}

/// Finds what has expired. Takes nothing for items without a lifetime.
macro_rules! index {
    ($name:literal, $table:literal) => {
        concat!(
            "CREATE INDEX ",
            $name,
            " ON ",
            $table,
            "(expires)WHERE expires IS NOT NULL"
        )
    };
}

/// One row: the queue's time, to go on from. See `age.rs`.
macro_rules! clock {
    () => {
        "CREATE TABLE clock(only INTEGER PRIMARY KEY,checksum INT,queue INT,boot TEXT,since_boot INT,wall INT,known INT)STRICT"
    };
}

/// Items of a priority up to a number are gone, although their rows are there: see `gone.rs`. `again` is -`until`, or the row
/// does not count.
macro_rules! gone {
    () => {
        "CREATE TABLE gone(priority INTEGER PRIMARY KEY,until INT,again INT)STRICT"
    };
}

/// At most one row: see `note.rs`.
macro_rules! note {
    () => {
        "CREATE TABLE note(only INTEGER PRIMARY KEY,checksum INT,last INT,note BLOB)STRICT"
    };
}

/// All tables and indexes, to the letter.
pub(crate) const TABLES: [&str; 23] = [
    table!("item_0"),
    table!("item_1"),
    table!("item_2"),
    table!("item_3"),
    table!("item_4"),
    fifth!(),
    table!("item_6"),
    table!("item_7"),
    table!("item_8"),
    table!("item_9"),
    clock!(),
    gone!(),
    note!(),
    index!("expires_0", "item_0"),
    index!("expires_1", "item_1"),
    index!("expires_2", "item_2"),
    index!("expires_3", "item_3"),
    index!("expires_4", "item_4"),
    index!("expires_5", "item"),
    index!("expires_6", "item_6"),
    index!("expires_7", "item_7"),
    index!("expires_8", "item_8"),
    index!("expires_9", "item_9"),
];

/// Tables before indexes, as SQLite's VACUUM makes them: their pages are then the same in every file.
const FORWARD: &str = concat!(
    "ALTER TABLE item ADD COLUMN route TEXT;
     ALTER TABLE item ADD COLUMN lifetime INTEGER;
     ALTER TABLE item ADD COLUMN expires INTEGER;
     ALTER TABLE item ADD COLUMN seal INTEGER;",
    table!("item_0"),
    ";",
    table!("item_1"),
    ";",
    table!("item_2"),
    ";",
    table!("item_3"),
    ";",
    table!("item_4"),
    ";",
    table!("item_6"),
    ";",
    table!("item_7"),
    ";",
    table!("item_8"),
    ";",
    table!("item_9"),
    ";",
    clock!(),
    ";",
    gone!(),
    ";",
    note!(),
    ";",
    index!("expires_5", "item"),
    ";",
    index!("expires_0", "item_0"),
    ";",
    index!("expires_1", "item_1"),
    ";",
    index!("expires_2", "item_2"),
    ";",
    index!("expires_3", "item_3"),
    ";",
    index!("expires_4", "item_4"),
    ";",
    index!("expires_6", "item_6"),
    ";",
    index!("expires_7", "item_7"),
    ";",
    index!("expires_8", "item_8"),
    ";",
    index!("expires_9", "item_9"),
);

/// Whether version 1 can have the row at all.
macro_rules! sound {
    () => {
        "typeof(enqueued) = 'integer' AND typeof(checksum) = 'integer' AND typeof(key) = 'text' AND typeof(id) = 'text' AND typeof(properties) = 'blob' AND typeof(payload) = 'blob'"
    };
}

/// Whether the item is still there.
macro_rules! there {
    ($priority:literal) => {
        concat!(
            "sequence > coalesce((SELECT until FROM gone WHERE priority = ",
            $priority,
            " AND until + again = 0), -1)"
        )
    };
}

macro_rules! rows {
    ($name:literal, $priority:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM ",
            $name,
            " WHERE ",
            there!($priority),
            " AND ",
            sound!()
        )
    };
}

/// One table in the order of the sequence. SQLite merges the ten, which are in that order each, and needs no memory for it.
const UNDO: &str = concat!(
    "DROP INDEX expires_5;
     DROP INDEX expires_0;
     DROP INDEX expires_1;
     DROP INDEX expires_2;
     DROP INDEX expires_3;
     DROP INDEX expires_4;
     DROP INDEX expires_6;
     DROP INDEX expires_7;
     DROP INDEX expires_8;
     DROP INDEX expires_9;
     ALTER TABLE item RENAME TO item_5;
     CREATE TABLE item (\n  ",
    first!(),
    "\n) STRICT;
     INSERT OR IGNORE INTO item ",
    rows!("item_5", "5"),
    " UNION ALL ",
    rows!("item_0", "0"),
    " UNION ALL ",
    rows!("item_1", "1"),
    " UNION ALL ",
    rows!("item_2", "2"),
    " UNION ALL ",
    rows!("item_3", "3"),
    " UNION ALL ",
    rows!("item_4", "4"),
    " UNION ALL ",
    rows!("item_6", "6"),
    " UNION ALL ",
    rows!("item_7", "7"),
    " UNION ALL ",
    rows!("item_8", "8"),
    " UNION ALL ",
    rows!("item_9", "9"),
    " ORDER BY 1;
     DROP TABLE item_0;
     DROP TABLE item_1;
     DROP TABLE item_2;
     DROP TABLE item_3;
     DROP TABLE item_4;
     DROP TABLE item_5;
     DROP TABLE item_6;
     DROP TABLE item_7;
     DROP TABLE item_8;
     DROP TABLE item_9;
     DROP TABLE clock;
     DROP TABLE gone;
     DROP TABLE note;"
);

macro_rules! lost {
    ($name:literal, $priority:literal) => {
        concat!(
            "(SELECT count(*) FROM ",
            $name,
            " WHERE ",
            there!($priority),
            " AND (NOT (",
            sound!(),
            ") OR sequence IN (SELECT sequence FROM item)))"
        )
    };
}

/// Rows of the wrong types, and numbers that another row has.
const LOST: &str = concat!(
    "SELECT (SELECT count(*) FROM item WHERE ",
    there!("5"),
    " AND NOT (",
    sound!(),
    ")) + ",
    lost!("item_0", "0"),
    " + ",
    lost!("item_1", "1"),
    " + ",
    lost!("item_2", "2"),
    " + ",
    lost!("item_3", "3"),
    " + ",
    lost!("item_4", "4"),
    " + ",
    lost!("item_6", "6"),
    " + ",
    lost!("item_7", "7"),
    " + ",
    lost!("item_8", "8"),
    " + ",
    lost!("item_9", "9"),
);
