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
        found: 3,
        known: 1,
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
            "does not lead to the tables of version 1",
        ),
        (&remark, "", "does not lead to the tables of version 1"),
        (
            "DROP TABLE item",
            "",
            "does not lead to the tables of version 1",
        ),
        ("no SQL", "", "from version 2 that it carries failed: near"),
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
            "from version 2 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT -1",
            "from version 2 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT 1 WHERE 0",
            "from version 2 that it carries failed",
        ),
    ] {
        let path = folder.path().join("q.db");
        copy_files(&sample, &path);
        let mut row = Row {
            version: 2,
            checksum: 0,
            undo: undo.to_owned(),
            lost: count.to_owned(),
            reason: "r".to_owned(),
        };
        row.checksum = row.sum();
        let store = connect(&path, BOUND);
        store
            .connection
            .execute("DELETE FROM way_back WHERE version = 2", [])
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
            "DELETE FROM way_back WHERE version = 2",
            "from version 2 that it carries is missing",
        ),
        (
            "DELETE FROM way_back WHERE version = 3",
            "from version 3 that it carries is missing",
        ),
        (
            "UPDATE way_back SET version = 4 WHERE version = 3",
            "from version 3 that it carries is missing",
        ),
        (
            "UPDATE way_back SET undo = undo || ' ' WHERE version = 2",
            "from version 2 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET checksum = 1 WHERE version = 2",
            "from version 2 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET reason = printf('%2000000s', 'x')",
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
    // The rows lie at the end of the page; the middle is empty.
    for at in (0..24).chain((PAGE - 1300..PAGE).step_by(19)) {
        copy_files(&sample, &path);
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start((page - 1) * PAGE + at)).unwrap();
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
                    Version::Known(3)
                );
                assert_eq!(rows(&store.connection, 3), expected, "byte {at}");
                left += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(left > 30, "{taken} taken, {left} left");
}
