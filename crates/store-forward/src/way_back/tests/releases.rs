//! Two releases that do not exist yet, and what they do with a file.

use super::*;
use crate::row::Parts;
use crate::schema::{THIS, Version};

/// As SQLite writes it after a column was added to version 2.
macro_rules! item_3 {
    () => {
        "CREATE TABLE item (
  sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL
, route TEXT, lifetime INTEGER, expires INTEGER, seal INTEGER, kind INTEGER NOT NULL DEFAULT 0) STRICT"
    };
}

macro_rules! item_4 {
    () => {
        "CREATE TABLE item (
  sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  route TEXT,
  lifetime INTEGER,
  expires INTEGER,
  seal INTEGER,
  kind INTEGER NOT NULL
) STRICT"
    };
}

macro_rules! content_4 {
    () => {
        "CREATE TABLE content (
  sequence INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL
) STRICT"
    };
}

macro_rules! index {
    () => {
        "CREATE INDEX expires_5 ON item(expires)WHERE expires IS NOT NULL"
    };
}

/// An added column. Version 2 has no place for what is in it.
pub(super) const ADDED: Step = Step {
    forward: "ALTER TABLE item ADD COLUMN kind INTEGER NOT NULL DEFAULT 0",
    back: WayBack {
        undo: "DELETE FROM item WHERE kind > 0; ALTER TABLE item DROP COLUMN kind",
        lost: Some(Lost {
            count: "SELECT count(*) FROM item WHERE kind > 0",
            reason: "version 2 has no kinds",
        }),
    },
};

/// A table that became two.
const SPLIT: Step = Step {
    forward: concat!(
        "DROP INDEX expires_5; ALTER TABLE item RENAME TO whole;",
        item_4!(),
        ";",
        content_4!(),
        ";
        INSERT INTO item SELECT sequence, enqueued, checksum, route, lifetime, expires, seal, kind FROM whole;
        INSERT INTO content SELECT sequence, key, id, properties, payload FROM whole;
        DROP TABLE whole;",
        index!()
    ),
    back: WayBack {
        undo: concat!(
            "DROP INDEX expires_5; ALTER TABLE item RENAME TO head;",
            item_3!(),
            ";
            INSERT INTO item SELECT sequence, enqueued, checksum, key, id, properties, payload, route, lifetime, expires, seal, kind
              FROM head JOIN content USING (sequence);
            DROP TABLE head;
            DROP TABLE content;",
            index!()
        ),
        lost: None,
    },
};

/// Version 2's tables, with others in the place of that of the default priority.
const fn with<const N: usize>(items: &[&'static str]) -> [&'static str; N] {
    let mut tables = [""; N];
    let mut at = 0;
    while at < THIS.tables.len() {
        tables[at] = THIS.tables[at];
        at += 1;
    }
    tables[5] = items[0];
    while at < N {
        tables[at] = items[at - THIS.tables.len() + 1];
        at += 1;
    }
    tables
}

const SECOND: Release = Release {
    steps: &[THIS.steps[0], ADDED],
    tables: &with::<{ THIS.tables.len() }>(&[item_3!()]),
};

pub(super) const THIRD: Release = Release {
    steps: &[THIS.steps[0], ADDED, SPLIT],
    tables: &with::<{ THIS.tables.len() + 1 }>(&[item_4!(), content_4!()]),
};

fn release(version: u32) -> &'static Release {
    match version {
        2 => &THIS,
        3 => &SECOND,
        _ => &THIRD,
    }
}

/// Starts a release on the file, as far as its schema goes.
pub(super) fn start(path: &Path, version: u32, max_bytes: u64) -> (Store, Left) {
    let release = release(version);
    let mut store = connect(path, max_bytes);
    let left = store
        .beyond_bound(|connection| match release.version_of(connection)? {
            Version::Newer(found) => take(connection, release, found, 1 << 40),
            Version::Known(from) => release.migrate(connection, from).map(|()| Left::default()),
            Version::Empty => panic!("an empty file"),
        })
        .unwrap();
    release.check(&store.connection).unwrap();
    renew(&store.connection, release.steps).unwrap();
    (store, left)
}

/// Every item of a file of version 3 or 4.
pub(super) fn rows(connection: &Connection, version: u32) -> Rows {
    let from = match version {
        3 => "item",
        _ => "item JOIN content USING (sequence)",
    };
    let sql = format!(
        "SELECT sequence, key, id, properties, payload, kind, enqueued, checksum FROM {from}
           WHERE enqueued >= 0 AND sequence > coalesce((SELECT until FROM gone WHERE priority = 5), -1)"
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let sequence = row.get(0)?;
        let bytes = |index| row.get::<_, Vec<u8>>(index).map(bytes::Bytes::from);
        let item = NewItem {
            key: row.get(1)?,
            id: row.get(2)?,
            properties: bytes(3)?,
            payload: bytes(4)?,
            ..NewItem::default()
        };
        assert_eq!(
            Parts::from(&item).checksum(sequence, row.get(6)?),
            row.get::<_, u32>(7)?
        );
        Ok((sequence, (item, row.get(5)?)))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Adds a row to a file of version 3 or 4.
pub(super) fn insert(
    connection: &Connection,
    version: u32,
    sequence: u64,
    enqueued: i64,
    parts: Parts<'_>,
    kind: u32,
) {
    let checksum = parts.checksum(sequence, enqueued);
    let Parts {
        key,
        id,
        properties,
        payload,
    } = parts;
    if version == 3 {
        connection
            .execute(
                "INSERT INTO item (sequence, enqueued, checksum, key, id, properties, payload, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    sequence, enqueued, checksum, key, id, properties, payload, kind,
                ),
            )
            .unwrap();
        return;
    }
    connection
        .execute(
            "INSERT INTO item (sequence, enqueued, checksum, kind) VALUES (?1, ?2, ?3, ?4)",
            (sequence, enqueued, checksum, kind),
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO content VALUES (?1, ?2, ?3, ?4, ?5)",
            (sequence, key, id, properties, payload),
        )
        .unwrap();
}

/// Deletes a row of a file of version 3 or 4.
pub(super) fn delete(connection: &Connection, version: u32, which: &str) {
    if version > 3 {
        let sql = format!(
            "DELETE FROM content WHERE sequence IN (SELECT sequence FROM item WHERE {which})"
        );
        connection.execute_batch(&sql).unwrap();
    }
    connection
        .execute_batch(&format!("DELETE FROM item WHERE {which}"))
        .unwrap();
}
