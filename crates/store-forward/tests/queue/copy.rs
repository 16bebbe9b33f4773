//! Looking at a queue from outside, and copying it while it is open.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store_forward::{
    CopyError, Held, LAYOUT, Queue, QueueOptions, Sequence, WhenFull, copy, files,
};

use crate::{MIB, item, options, read_all};

fn ids(items: &[store_forward::StoredItem]) -> BTreeSet<u64> {
    items.iter().map(|item| item.id.parse().unwrap()).collect()
}

async fn open_copy(path: &Path) -> Queue {
    let queue = Queue::open(QueueOptions::new(path, 256 * MIB, WhenFull::Reject)).unwrap();
    let stats = queue.stats();
    assert_eq!(
        (stats.corrupt_rows, stats.corrupt_files),
        (0, 0),
        "{:?}",
        stats.last_error
    );
    queue
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_queue_at_work_has_what_was_acknowledged_before_and_nothing_that_was_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    // A small log, which starts over every few commits.
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let (stored, removed) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let write = async {
        let mut next: u64 = 1;
        while !stop.load(Ordering::Relaxed) {
            let items: Vec<_> = (next..next + 10).map(|id| item(id, 300)).collect();
            next += 10;
            let sequences = queue.append(items).await.unwrap();
            stored.store(sequences.last().unwrap().0, Ordering::SeqCst);
            if let Some(gone) = (next - 1).checked_sub(200) {
                queue
                    .remove((1..=gone).rev().take(10).map(Sequence).collect())
                    .await
                    .unwrap();
                removed.store(gone, Ordering::SeqCst);
            }
        }
    };
    let look = async {
        let mut copies = 0;
        for round in 0..40 {
            let place = folder.path().join(format!("copy-{round}"));
            std::fs::create_dir(&place).unwrap();
            let place = place.join("queue.db");
            let before = (
                stored.load(Ordering::SeqCst),
                removed.load(Ordering::SeqCst),
            );
            let (from, to) = (path.clone(), place.clone());
            let copied = tokio::task::spawn_blocking(move || copy(&from, &to))
                .await
                .unwrap();
            match copied {
                Ok(_) => copies += 1,
                Err(CopyError::Restless { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            let after = stored.load(Ordering::SeqCst) + 10;
            let opened = open_copy(&place).await;
            let found = ids(&read_all(&opened).await);
            opened.close().await.unwrap();
            let Some((first, last)) = found.first().zip(found.last()) else {
                assert_eq!(before.0, 0);
                continue;
            };
            assert!(
                *last >= before.0 && *last <= after,
                "{last} of {before:?} to {after}"
            );
            assert!(*first > before.1, "{first} was gone: {before:?}");
            assert_eq!(found.len() as u64, last - first + 1, "no gap");
        }
        stop.store(true, Ordering::Relaxed);
        copies
    };
    let ((), copies) = tokio::join!(write, look);
    assert!(copies >= 5, "{copies}");
    assert_eq!(files(&path).unwrap().held, Held::Yes);
    queue.close().await.unwrap();
}

#[tokio::test]
async fn what_can_be_seen_without_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let missing = files(&path).unwrap_err().to_string();
    assert!(missing.contains("there is no such file"), "{missing}");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    queue.append(vec![item(1, 100)]).await.unwrap();
    let open = files(&path).unwrap();
    assert_eq!((open.layout, open.held), (Some(LAYOUT), Held::Yes));
    assert!(open.log_bytes > 0 && open.database_bytes > 0);
    queue.close().await.unwrap();
    let aside = folder.path().join("queue.db.damaged-17");
    std::fs::write(&aside, b"xyz").unwrap();
    let closed = files(&path).unwrap();
    assert_eq!((closed.held, closed.log_bytes), (Held::No, 0));
    assert_eq!(closed.damaged, [(aside, 3)]);
    let other = folder.path().join("other.txt");
    std::fs::write(&other, "a letter").unwrap();
    let refused = copy(&other, &folder.path().join("copy")).unwrap_err();
    assert!(matches!(refused, CopyError::NotAQueue { .. }), "{refused}");
    assert!(!folder.path().join("copy").exists());
}
