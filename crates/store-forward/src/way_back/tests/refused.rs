//! Ways back that are not taken, and what the newer release finds afterwards.

use std::io::{Read, Seek, SeekFrom, Write};

use super::releases::{ADDED, THIRD, rows};
use super::*;
use crate::OpenError;
use crate::schema::Version;
use crate::space::PAGE;

fn refused(path: &Path) -> String {
    let error = Queue::open(options(path, BOUND, WhenFull::Reject)).unwrap_err();
    let OpenError::NewerSchema {
        found: 4,
        known: 2,
        ref reason,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(
        error
            .to_string()
            .contains("install the newer release again, or move the file away")
    );
    reason.clone()
}

#[tokio::test]
async fn a_way_back_that_leads_elsewhere_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    let elsewhere = folder.path().join("elsewhere.db");
    let attach = format!(
        "ATTACH '{}' AS other; CREATE TABLE other.item (a)",
        elsewhere.display()
    );
    let remark = format!("{}; CREATE TABLE more (a)", ADDED.back.undo);
    let commit = format!("DELETE FROM item; COMMIT; BEGIN; {}", ADDED.back.undo);
    let trigger = format!(
        "CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM item; END; {}",
        ADDED.back.undo
    );
    for (undo, count, said) in [
        (
            "DELETE FROM item",
            "",
            "does not lead to the tables of version 2",
        ),
        (&remark, "", "does not lead to the tables of version 2"),
        (
            "DROP TABLE item",
            "",
            "does not lead to the tables of version 2",
        ),
        ("no SQL", "", "from version 3 that it carries failed: near"),
        (&attach, "", "not authorized"),
        (&commit, "", "not authorized"),
        (&trigger, "", "not authorized"),
        ("PRAGMA writable_schema = ON", "", "not authorized"),
        (
            ADDED.back.undo,
            "DELETE FROM item RETURNING 1",
            "its count of losses writes",
        ),
        (
            ADDED.back.undo,
            "SELECT 'many'",
            "from version 3 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT -1",
            "from version 3 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT 1 WHERE 0",
            "from version 3 that it carries failed",
        ),
    ] {
        let path = folder.path().join("q.db");
        copy_files(&sample, &path);
        let mut row = Row {
            version: 3,
            checksum: 0,
            undo: undo.to_owned(),
            lost: count.to_owned(),
            reason: "r".to_owned(),
        };
        row.checksum = row.sum();
        let store = connect(&path, BOUND);
        store
            .connection
            .execute("DELETE FROM way_back WHERE version = 3", [])
            .unwrap();
        row.insert(&store.connection).unwrap();
        store.close().unwrap();
        let reason = refused(&path);
        assert!(reason.contains(said), "{undo}, {count}: {reason}");
        assert_untouched(&path, &expected);
    }
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_way_back_that_is_not_whole_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    for (sql, said) in [
        (
            "DELETE FROM way_back WHERE version = 3",
            "from version 3 that it carries is missing",
        ),
        (
            "DELETE FROM way_back WHERE version = 4",
            "from version 4 that it carries is missing",
        ),
        (
            "UPDATE way_back SET version = 9 WHERE version = 4",
            "from version 4 that it carries is missing",
        ),
        (
            "UPDATE way_back SET undo = undo || ' ' WHERE version = 3",
            "from version 3 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET checksum = 1 WHERE version = 3",
            "from version 3 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET reason = printf('%2000000s', 'x') WHERE version = 3",
            "bytes, more than",
        ),
    ] {
        let path = folder.path().join("q.db");
        copy_files(&sample, &path);
        let store = connect(&path, BOUND);
        store.connection.execute_batch(sql).unwrap();
        store.close().unwrap();
        let reason = refused(&path);
        assert!(reason.contains(said), "{sql}: {reason}");
        assert_untouched(&path, &expected);
    }
    let path = folder.path().join("q.db");
    copy_files(&sample, &path);
    let store = connect(&path, BOUND);
    store
        .connection
        .execute_batch("DROP TABLE way_back")
        .unwrap();
    store.close().unwrap();
    assert_eq!(refused(&path), "it carries no way back");
}

/// Any byte of the table's page may be another one: either the way is taken and leads to everything, or the file is left
/// to the newer release.
#[tokio::test]
async fn a_flipped_byte_in_the_way_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    let store = connect(&sample, BOUND);
    let page: u64 = store
        .connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'way_back'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    store.close().unwrap();
    let path = folder.path().join("q.db");
    let (mut taken, mut left) = (0, 0);
    // The page's own header, and the rows that the way takes, wherever they lie.
    let bytes = std::fs::read(&sample).unwrap();
    let around = |text: &str, before: u64, after: u64, step: usize| {
        let places = bytes.windows(text.len()).enumerate();
        let places = places.filter(|(_, window)| *window == text.as_bytes());
        let places: Vec<_> = places.map(|(at, _)| at as u64).collect();
        assert!(!places.is_empty());
        places
            .into_iter()
            .flat_map(move |at| (at - before..at + after).step_by(step))
    };
    let root = (page - 1) * PAGE;
    let header = root..root + 24;
    let third = around("DELETE FROM item WHERE kind", 12, 180, 7);
    let fourth = around("FROM head JOIN content", 600, 150, 31);
    for at in header.chain(third).chain(fourth) {
        copy_files(&sample, &path);
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Current(-1)).unwrap();
        file.write_all(&[byte[0] ^ 0x41]).unwrap();
        drop(file);
        match Queue::open(options(&path, BOUND, WhenFull::Reject)) {
            Ok(queue) => {
                assert_eq!(read_all(&queue).await, expected, "byte {at}");
                taken += 1;
            }
            Err(OpenError::NewerSchema { .. }) => {
                let store = connect(&path, BOUND);
                assert_eq!(
                    THIRD.version_of(&store.connection).unwrap(),
                    Version::Known(4)
                );
                assert_eq!(rows(&store.connection, 4), expected, "byte {at}");
                left += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(left > 30, "{taken} taken, {left} left");
}
