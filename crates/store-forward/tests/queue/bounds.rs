//! What happens at the bound.

use store_forward::{AppendError, Queue, QueueOptions, Sequence, WhenFull};

use crate::{MIB, disk_bytes, item, options, read_all};

#[tokio::test]
async fn the_oldest_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::DropOldest)).unwrap();
    let mut last = 0;
    for _ in 0..100 {
        let sequences = queue
            .append((0..10).map(|id| item(id, 2000)).collect())
            .await
            .unwrap();
        assert_eq!(
            sequences,
            (last + 1..=last + 10).map(Sequence).collect::<Vec<_>>()
        );
        last += 10;
        assert!(queue.stats().file_bytes <= MIB && disk_bytes(&path) <= MIB);
    }
    let stats = queue.stats();
    assert_eq!(
        (stats.appended, stats.depth + stats.dropped_oldest),
        (1000, 1000)
    );
    let left: Vec<_> = read_all(&queue)
        .await
        .iter()
        .map(|item| item.sequence.0)
        .collect();
    assert_eq!(left, (1001 - stats.depth..=1000).collect::<Vec<_>>());
    // Most of the bound is used.
    assert!(stats.payload_bytes > MIB / 2, "{stats:?}");
}

#[tokio::test]
async fn the_newest_are_dropped_and_leave_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::DropNewest)).unwrap();
    for _ in 0..100 {
        assert_eq!(
            queue
                .append((0..10).map(|id| item(id, 2000)).collect())
                .await
                .unwrap()
                .len(),
            10
        );
        assert!(disk_bytes(&path) <= MIB);
    }
    // One that is small enough may still find room.
    let stats = queue.stats();
    assert_eq!(
        (stats.appended, stats.depth, stats.dropped_newest),
        (stats.depth, stats.depth, 1000 - stats.depth)
    );
    assert!(stats.payload_bytes > MIB / 2, "{stats:?}");
    let kept: Vec<_> = read_all(&queue)
        .await
        .iter()
        .map(|item| item.sequence)
        .collect();
    let full_at = kept
        .windows(2)
        .position(|pair| pair[1].0 != pair[0].0 + 1)
        .unwrap();
    assert!(
        kept.is_sorted() && kept.len() as u64 == stats.depth && full_at > 250,
        "full at {full_at}"
    );
    // Room again: numbers go on after the gap, also after a crash.
    queue.remove(kept[..100].to_vec()).await.unwrap();
    drop(queue);
    let queue = Queue::open(options(&path, WhenFull::DropNewest)).unwrap();
    assert_eq!(
        queue.append(vec![item("next", 2000)]).await.unwrap(),
        [Sequence(1001)]
    );
    assert_eq!(queue.stats().dropped_newest, 0);
    assert_eq!(
        read_all(&queue).await.last().unwrap().sequence,
        Sequence(1001)
    );
}

#[tokio::test]
async fn a_full_queue_refuses_until_items_leave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let batch = || (0..10).map(|id| item(id, 2000)).collect::<Vec<_>>();
    let mut last = 0;
    let refused = loop {
        match queue.append(batch()).await {
            Ok(sequences) => last = sequences.last().unwrap().0,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    assert!(refused.is_retryable());
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.rejected, stats.storage_errors),
        (last, 10, 0)
    );
    assert!(disk_bytes(&path) <= MIB && stats.payload_bytes > MIB / 2);
    queue
        .remove((1..=20).map(Sequence).collect())
        .await
        .unwrap();
    // What was refused has no numbers.
    assert_eq!(queue.append(batch()).await.unwrap()[0], Sequence(last + 1));
    assert_eq!(read_all(&queue).await.len() as u64, last - 10);
}

#[tokio::test]
async fn large_items_and_large_batches() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(QueueOptions {
        max_bytes: 8 * MIB,
        ..options(&folder.path().join("q.db"), WhenFull::Reject)
    })
    .unwrap();
    // The largest message of IoT Hub, many at once, more than one transaction takes.
    let items: Vec<_> = (0..15).map(|id| item(id, 256 * 1024)).collect();
    assert_eq!(queue.append(items).await.unwrap().len(), 15);
    assert_eq!(read_all(&queue).await.len(), 15);
    let error = queue
        .append(vec![item("small", 1), item("large", MIB as usize)])
        .await
        .unwrap_err();
    assert!(matches!(&error, AppendError::TooLarge { id, .. } if id == "large"));
    assert!(!error.is_retryable());
    assert_eq!(queue.stats().depth, 15);
    // Removing in no order, every other one.
    queue
        .remove((1..=15).rev().step_by(2).map(Sequence).collect())
        .await
        .unwrap();
    assert_eq!(
        read_all(&queue)
            .await
            .iter()
            .map(|item| item.sequence.0)
            .collect::<Vec<_>>(),
        [2, 4, 6, 8, 10, 12, 14]
    );
}

#[tokio::test]
async fn a_lowered_bound_makes_the_file_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let large = QueueOptions {
        max_bytes: 8 * MIB,
        ..options(&path, WhenFull::DropOldest)
    };
    let queue = Queue::open(large.clone()).unwrap();
    for _ in 0..10 {
        queue
            .append((0..100).map(|id| item(id, 1900)).collect())
            .await
            .unwrap();
    }
    queue.close().await.unwrap();
    // A queue that must not drop waits until it was emptied.
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(
        queue.append(vec![item("no", 10)]).await,
        Err(AppendError::Full)
    );
    assert_eq!(read_all(&queue).await.len(), 1000);
    queue.close().await.unwrap();

    let queue = Queue::open(options(&path, WhenFull::DropOldest)).unwrap();
    let stats = queue.stats();
    assert!(
        disk_bytes(&path) <= MIB && stats.payload_bytes > MIB / 2,
        "{stats:?}"
    );
    assert_eq!(stats.dropped_oldest + stats.depth, 1000);
    let left: Vec<_> = read_all(&queue)
        .await
        .iter()
        .map(|item| item.sequence.0)
        .collect();
    assert_eq!(left, (1001 - stats.depth..=1000).collect::<Vec<_>>());
    assert_eq!(
        queue.append(vec![item("next", 10)]).await.unwrap(),
        [Sequence(1001)]
    );
}

#[tokio::test]
async fn groups_of_large_items_stay_within_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let delay = std::time::Duration::from_millis(2);
    let queue = Queue::open(QueueOptions {
        commit_delay: delay,
        ..options(&path, WhenFull::DropOldest)
    })
    .unwrap();
    let appends: Vec<_> = (0..150)
        .map(|id| {
            let queue = queue.clone();
            tokio::spawn(async move {
                queue
                    .append(vec![item(id, [30_000, 2_100, 45_000][id % 3]); 2])
                    .await
            })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
        assert!(disk_bytes(&path) <= MIB, "{}", disk_bytes(&path));
    }
    // Each removed item lies on another page.
    let stored: Vec<_> = read_all(&queue)
        .await
        .iter()
        .map(|item| item.sequence)
        .collect();
    queue
        .append((0..250).map(|id| item(id, 2_100)).collect())
        .await
        .unwrap();
    queue
        .remove((stored[0].0..400).step_by(3).map(Sequence).collect())
        .await
        .unwrap();
    assert!(disk_bytes(&path) <= MIB);
    let stats = queue.stats();
    assert!(stats.file_bytes <= MIB);
    assert_eq!(stats.appended, 550);
    assert_eq!(stats.depth, 550 - stats.dropped_oldest - stats.removed);
}
