//! What needs a hand inside the open database.

use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use crate::{AppendError, NewItem, Queue, QueueOptions, Sequence, WhenFull};

fn queue(folder: &tempfile::TempDir, when_full: WhenFull) -> Queue {
    let options = QueueOptions {
        commit_delay: Duration::ZERO,
        ..QueueOptions::new(folder.path().join("q.db"), 8 << 20, when_full)
    };
    Queue::open(options).unwrap()
}

fn items(count: usize, payload: usize) -> Vec<NewItem> {
    let item = |id: usize| NewItem {
        key: "k".into(),
        id: id.to_string(),
        properties: "".into(),
        payload: vec![id as u8; payload].into(),
        ..NewItem::default()
    };
    (0..count).map(item).collect()
}

/// SQLite's own answer when there is no room, at a size that is not the queue's bound.
#[tokio::test]
async fn sqlite_full_fails_appends_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::DropOldest);
    queue.append(items(50, 1000)).await.unwrap();
    let limit = |pages: u32| {
        move |store: &mut crate::store::Store| {
            store
                .connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .unwrap()
        }
    };
    queue.tamper(limit(1)).await;
    let error = queue.append(items(50, 1000)).await.unwrap_err();
    assert!(
        matches!(
            error,
            AppendError::Storage {
                retryable: true,
                ..
            }
        ),
        "{error}"
    );
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.appended, stats.dropped_oldest),
        (50, 50, 0)
    );
    assert!(stats.storage_errors > 0 && stats.last_error.is_some());
    queue.remove(vec![Sequence(1), Sequence(2)]).await.unwrap();
    queue.tamper(limit(2000)).await;
    assert_eq!(
        queue.append(items(2, 1000)).await.unwrap(),
        [Sequence(51), Sequence(52)]
    );
    assert_eq!(queue.stats().depth, 50);
    queue.close().await.unwrap();
}

/// Damage that shows while the queue is open: the rest goes on, the loss is known to the item.
#[tokio::test]
async fn a_trial_tells_whether_the_disk_takes_writes_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    assert!(!queue.stats().writable, "nothing was written yet");
    queue.append(items(2, 100)).await.unwrap();
    queue
        .tamper(|store| {
            store
                .connection
                .pragma_update(None, "query_only", true)
                .unwrap()
        })
        .await;
    queue.trial_write().await.unwrap_err();
    assert!(!queue.stats().writable);
    queue
        .tamper(|store| {
            store
                .connection
                .pragma_update(None, "query_only", false)
                .unwrap()
        })
        .await;
    queue.trial_write().await.unwrap();
    assert!(queue.stats().writable);
    assert_eq!((queue.stats().depth, queue.stats().appended), (2, 2));
    let next = queue.append(items(1, 100)).await.unwrap();
    queue.close().await.unwrap();

    let queue = self::queue(&folder, WhenFull::Reject);
    let found = queue.read(Sequence(0), 10, 1 << 20).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found.last().map(|item| item.sequence), next.last().copied());
}

#[tokio::test]
async fn damage_while_open_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    queue.append(items(200, 1000)).await.unwrap();
    let path = folder.path().join("q.db");
    let damaged = path.clone();
    queue
        .tamper(move |store| {
            store.checkpoint().unwrap();
            store.connection.release_memory().unwrap();
            let mut file = std::fs::File::options().write(true).open(damaged).unwrap();
            file.seek(SeekFrom::Start(40 * 4096)).unwrap();
            file.write_all(&[0xff; 4096]).unwrap();
        })
        .await;
    let mut after = Sequence::START;
    let mut found = 0;
    loop {
        let items = queue.read(after, 64, usize::MAX).await.unwrap();
        let Some(last) = items.last() else { break };
        after = last.sequence;
        found += items.len() as u64;
    }
    let stats = queue.stats();
    assert!((190..200).contains(&found), "{found}");
    assert_eq!(
        (stats.depth, stats.corrupt_rows, stats.corrupt_files),
        (found, 200 - found, 1),
        "{stats:?}"
    );
    assert_eq!(queue.append(items(1, 10)).await.unwrap(), [Sequence(201)]);
    queue.close().await.unwrap();
}

/// The index of lifetimes is damaged: it costs nothing.
#[tokio::test]
async fn a_damaged_index_loses_no_item() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    let living = |seconds| {
        items(50, 500).into_iter().map(move |item| NewItem {
            lifetime: Some(Duration::from_secs(seconds)),
            ..item
        })
    };
    queue
        .append(living(0).chain(living(3600)).collect())
        .await
        .unwrap();
    let path = folder.path().join("q.db");
    queue
        .tamper(move |store| {
            store.checkpoint().unwrap();
            store.connection.release_memory().unwrap();
            let page: u64 = store
                .connection
                .query_row(
                    "SELECT rootpage FROM sqlite_schema WHERE name = 'expires_5'",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            let mut file = std::fs::File::options().write(true).open(path).unwrap();
            file.seek(SeekFrom::Start((page - 1) * 4096)).unwrap();
            file.write_all(&[0xff; 4096]).unwrap();
        })
        .await;
    queue.append(items(1, 10)).await.unwrap();
    let found = queue.read(Sequence::START, 200, usize::MAX).await.unwrap();
    let stats = queue.stats();
    assert_eq!((found.len(), stats.depth), (51, 51), "{stats:?}");
    assert_eq!((stats.dropped_expired, stats.corrupt_rows), (50, 0));
    assert_eq!(stats.corrupt_files, 1);
    queue.close().await.unwrap();
}

/// What is gone stays gone, also where its rows are still in the file.
#[tokio::test]
async fn rows_of_items_that_are_gone_stay_out_of_sight() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    queue.append(items(300, 1000)).await.unwrap();
    let gone = (1..=100).map(Sequence).collect();
    queue.remove(gone).await.unwrap();
    let rows = |expected: u64| {
        move |store: &mut crate::store::Store| {
            let rows: u64 = store
                .connection
                .query_row("SELECT count(*) FROM item", [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, expected);
        }
    };
    queue.tamper(rows(300)).await;
    let first = queue.read(Sequence::START, 1, 1).await.unwrap();
    assert_eq!(first[0].sequence, Sequence(101));
    drop(queue);
    let queue = self::queue(&folder, WhenFull::Reject);
    assert_eq!(queue.stats().depth, 200);
    let first = queue.read(Sequence::START, 1, 1).await.unwrap();
    assert_eq!(first[0].sequence, Sequence(101));
    // Many, and little left: the rows go.
    queue
        .remove((101..=280).map(Sequence).collect())
        .await
        .unwrap();
    queue.append(items(1, 10)).await.unwrap();
    queue.tamper(rows(21)).await;
    let left = queue.read(Sequence::START, 100, usize::MAX).await.unwrap();
    assert!(left.iter().map(|item| item.sequence.0).eq(281..=301));
    queue.close().await.unwrap();
}

/// A reader of some keys removes what is damaged of them, and does not look at the rest.
#[tokio::test]
async fn only_rows_of_wanted_keys_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    let keyed = |(number, item): (usize, NewItem)| NewItem {
        key: ["a", "b"][number % 2].to_owned(),
        ..item
    };
    let items = items(20, 100).into_iter().enumerate().map(keyed).collect();
    queue.append(items).await.unwrap();
    queue
        .tamper(|store| {
            store
                .connection
                .execute_batch(
                    "UPDATE item SET payload = x'00' WHERE sequence IN (5, 6);
                     UPDATE item SET key = 'b' WHERE sequence = 7;",
                )
                .unwrap()
        })
        .await;
    for (key, sound, lost) in [("a", 8, 1), ("b", 9, 3)] {
        let wanted = move |found: &str| found == key;
        let found = queue
            .read_priority_of(
                Default::default(),
                Sequence::START,
                Sequence::END,
                99,
                usize::MAX,
                wanted,
            )
            .await
            .unwrap();
        assert_eq!(found.items.len(), sound);
        assert_eq!(found.looked_to, Sequence(20));
        let stats = queue.stats();
        assert_eq!((stats.depth, stats.corrupt_rows), (20 - lost, lost));
    }
}

/// A row that does not match its checksum, with everything else in order.
#[tokio::test]
async fn a_damaged_row_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(&folder, WhenFull::Reject);
    queue.append(items(20, 100)).await.unwrap();
    for (sql, lost) in [
        ("UPDATE item SET payload = x'00' WHERE sequence = 5", 1),
        (
            "UPDATE item SET checksum = checksum + 1 WHERE sequence IN (7, 8)",
            3,
        ),
        ("UPDATE item SET key = '', id = 'k5' WHERE sequence = 6", 4),
        ("UPDATE item SET enqueued = -1 WHERE sequence = 20", 5),
    ] {
        queue
            .tamper(move |store| store.connection.execute_batch(sql).unwrap())
            .await;
        let items = queue.read(Sequence::START, 100, usize::MAX).await.unwrap();
        let stats = queue.stats();
        assert_eq!(
            (items.len(), stats.depth, stats.corrupt_rows),
            (20 - lost, 20 - lost as u64, lost as u64)
        );
    }
    // The last one was damaged: its number is not given out again, now or after a restart.
    assert_eq!(queue.append(items(1, 10)).await.unwrap(), [Sequence(21)]);
    queue
        .tamper(|store| {
            store
                .connection
                .execute_batch("UPDATE item SET properties = x'01' WHERE sequence = 21")
                .unwrap()
        })
        .await;
    drop(queue);
    let queue = self::queue(&folder, WhenFull::Reject);
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.corrupt_rows, stats.corrupt_files),
        (15, 1, 0)
    );
    assert!(queue.append(items(1, 10)).await.unwrap()[0] > Sequence(21));
}

/// A damaged note, and one of a state that the file has left, are none.
#[tokio::test]
async fn only_a_sound_note_is_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    for sql in [
        "UPDATE note SET note = x'00'",
        "UPDATE note SET last = last + 1",
        "UPDATE note SET note = NULL",
    ] {
        let queue = self::queue(&folder, WhenFull::Reject);
        queue.append(items(2, 10)).await.unwrap();
        queue.close_with_note("a note".into()).await.unwrap();
        let database = rusqlite::Connection::open(folder.path().join("q.db")).unwrap();
        database.execute_batch(sql).unwrap();
        database.close().unwrap();
        let queue = self::queue(&folder, WhenFull::Reject);
        assert_eq!(queue.take_note(), None, "{sql}");
        queue.append(items(1, 10)).await.unwrap();
        queue.close().await.unwrap();
    }
}
