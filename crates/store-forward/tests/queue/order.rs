//! Order, numbers, group commit.

use std::time::{Duration, Instant};

use store_forward::{AppendError, OpenError, Queue, QueueError, QueueOptions, Sequence, WhenFull};

use crate::{MIB, item, options, read_all, same};

#[tokio::test]
async fn items_come_back_in_order_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(&folder.path().join("q.db"), WhenFull::Reject)).unwrap();
    let items: Vec<_> = (0..40).map(|id| item(id, id * 497)).collect();
    let sequences = queue.append(items.clone()).await.unwrap();
    assert_eq!(sequences, (1..=40).map(Sequence).collect::<Vec<_>>());
    let stored = read_all(&queue).await;
    assert_eq!(stored.len(), items.len());
    assert!(
        stored
            .iter()
            .zip(&items)
            .all(|(stored, new)| same(stored, new))
    );
    assert!(
        stored
            .iter()
            .all(|item| item.enqueued.elapsed().unwrap() < Duration::from_secs(60))
    );

    assert_eq!(
        queue
            .read(Sequence(10), 3, usize::MAX)
            .await
            .unwrap()
            .iter()
            .map(|item| item.sequence.0)
            .collect::<Vec<_>>(),
        [11, 12, 13]
    );
    // A byte bound that nothing fits still gives one item.
    assert_eq!(queue.read(Sequence(10), 3, 1).await.unwrap().len(), 1);
    let two = stored[10].size() + stored[11].size();
    assert_eq!(queue.read(Sequence(10), 3, two).await.unwrap().len(), 2);
    assert_eq!(queue.read(Sequence(10), 0, two).await.unwrap().len(), 0);
    assert_eq!(queue.read(Sequence(40), 10, two).await.unwrap().len(), 0);
    assert_eq!(
        queue.read(Sequence(u64::MAX), 10, two).await.unwrap().len(),
        0
    );
    assert!(queue.append(Vec::new()).await.unwrap().is_empty());
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_number_is_never_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let mut last = 0;
    for round in 0..6 {
        let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
        assert_eq!(*queue.changed().borrow(), Sequence(last));
        let sequences = queue
            .append(vec![item(round, 10), item(round, 10)])
            .await
            .unwrap();
        assert_eq!(sequences, [Sequence(last + 1), Sequence(last + 2)]);
        last += 2;
        // Empty, or without its last item, or with it.
        let removed = match round % 3 {
            0 => sequences.clone(),
            1 => vec![sequences[1]],
            _ => vec![sequences[0]],
        };
        queue.remove(removed.clone()).await.unwrap();
        queue.remove(removed).await.unwrap();
        if round % 2 == 0 {
            queue.close().await.unwrap();
        }
    }
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(queue.stats().depth, 4);
    assert_eq!(
        read_all(&queue)
            .await
            .iter()
            .map(|item| item.sequence.0)
            .collect::<Vec<_>>(),
        [3, 6, 9, 12]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_commits_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let options = QueueOptions::new(folder.path().join("q.db"), 64 * MIB, WhenFull::Reject);
    let queue = Queue::open(options).unwrap();
    let producers: Vec<_> = (0..8)
        .map(|producer| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for number in 0..40 {
                    queue
                        .append(vec![
                            item(format!("{producer}/{number}/a"), 100),
                            item(format!("{producer}/{number}/b"), 100),
                        ])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let consumer = tokio::spawn({
        let queue = queue.clone();
        async move {
            let mut changed = queue.changed();
            let (mut after, mut ids) = (Sequence::START, Vec::new());
            while ids.len() < 8 * 80 {
                let items = queue.read(after, 64, usize::MAX).await.unwrap();
                let Some(last) = items.last() else {
                    changed.wait_for(|last| *last > after).await.unwrap();
                    continue;
                };
                assert!(
                    items.is_sorted_by(|a, b| a.sequence < b.sequence) && items[0].sequence > after
                );
                after = last.sequence;
                ids.extend(items.iter().map(|item| item.id.clone()));
                queue
                    .remove(items.iter().map(|item| item.sequence).collect())
                    .await
                    .unwrap();
            }
            ids
        }
    });
    for producer in producers {
        producer.await.unwrap();
    }
    let ids = consumer.await.unwrap();
    for producer in 0..8 {
        let of_one: Vec<_> = ids
            .iter()
            .filter(|id| id.starts_with(&format!("{producer}/")))
            .cloned()
            .collect();
        let expected: Vec<_> = (0..40)
            .flat_map(|number| {
                [
                    format!("{producer}/{number}/a"),
                    format!("{producer}/{number}/b"),
                ]
            })
            .collect();
        assert_eq!(of_one, expected);
    }
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.payload_bytes, stats.oldest_age),
        (0, 0, None)
    );
    assert_eq!((stats.appended, stats.removed), (640, 640));
}

#[tokio::test]
async fn a_lone_append_waits_for_the_delay_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let delay = Duration::from_millis(300);
    let queue = Queue::open(QueueOptions {
        commit_delay: delay,
        ..QueueOptions::new(folder.path().join("q.db"), MIB, WhenFull::Reject)
    })
    .unwrap();
    let start = Instant::now();
    queue.append(vec![item("alone", 10)]).await.unwrap();
    let waited = start.elapsed();
    // The upper bound leaves time for a slow disk; without the timer the append would not come back at all.
    assert!(waited >= delay && waited < delay * 10, "{waited:?}");
    // A group that reaches its bound does not wait.
    let start = Instant::now();
    for _ in 0..3 {
        queue
            .append((0..256).map(|id| item(id, 1)).collect())
            .await
            .unwrap();
    }
    assert!(start.elapsed() < 3 * delay, "{:?}", start.elapsed());
    // While nobody reads, groups may grow.
    queue.nobody_reads(true);
    let start = Instant::now();
    queue.append(vec![item("unread", 10)]).await.unwrap();
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
    queue.nobody_reads(false);
    // Closing does not wait either, and loses nothing.
    let append = tokio::spawn({
        let queue = queue.clone();
        async move { queue.append(vec![item("last", 10)]).await }
    });
    tokio::task::yield_now().await;
    queue.close().await.unwrap();
    assert_eq!(append.await.unwrap().unwrap(), [Sequence(771)]);
}

#[tokio::test]
async fn a_closed_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let other = queue.clone();
    let mut changed = queue.changed();
    queue.close().await.unwrap();
    assert_eq!(
        other.append(vec![item(1, 1)]).await,
        Err(AppendError::Closed)
    );
    assert_eq!(
        other.read(Sequence::START, 1, 1).await,
        Err(QueueError::Closed)
    );
    assert_eq!(
        other.remove(vec![Sequence(1)]).await,
        Err(QueueError::Closed)
    );
    assert!(changed.changed().await.is_err());
    assert_eq!(other.close().await, Err(QueueError::Closed));
    // The file is free at once, and its log is gone.
    assert!(!folder.path().join("q.db-wal").exists());
    Queue::open(options(&path, WhenFull::Reject)).unwrap();
}

#[tokio::test]
async fn a_dropped_handle_stores_what_was_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let appends: Vec<_> = (0..20)
        .map(|id| {
            tokio::spawn({
                let queue = queue.clone();
                async move { queue.append(vec![item(id, 10)]).await }
            })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    drop(queue);
    // Opening waits for the thread to end.
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(read_all(&queue).await.len(), 20);
}

#[tokio::test]
async fn options_and_paths_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let good = options(&folder.path().join("q.db"), WhenFull::Reject);
    for (bad, name) in [
        (
            QueueOptions {
                max_bytes: MIB - 1,
                ..good.clone()
            },
            "max_bytes",
        ),
        (
            QueueOptions {
                commit_items: 0,
                ..good.clone()
            },
            "commit_items",
        ),
        (
            QueueOptions {
                commit_bytes: 0,
                ..good.clone()
            },
            "commit_bytes",
        ),
        (
            QueueOptions {
                commit_delay: Duration::from_secs(11),
                ..good.clone()
            },
            "commit_delay",
        ),
        (
            QueueOptions {
                path: "/".into(),
                ..good.clone()
            },
            "path",
        ),
    ] {
        assert!(
            matches!(Queue::open(bad), Err(OpenError::Option { option, .. }) if option == name)
        );
    }
    let nowhere = QueueOptions {
        path: folder.path().join("no/such/q.db"),
        ..good.clone()
    };
    assert!(matches!(
        Queue::open(nowhere),
        Err(OpenError::Storage { .. })
    ));
    let a_folder = QueueOptions {
        path: folder.path().to_owned(),
        ..good.clone()
    };
    assert!(matches!(
        Queue::open(a_folder),
        Err(OpenError::Storage { .. })
    ));
    let _open = Queue::open(good.clone()).unwrap();
    assert!(matches!(Queue::open(good), Err(OpenError::InUse { .. })));
}
