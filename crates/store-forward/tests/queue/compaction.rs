//! The file after a backlog has drained.

use std::time::{Duration, Instant};

use store_forward::{NewItem, Priority, Queue, QueueOptions, Sequence, WhenFull};

use crate::{MIB, disk_bytes, item, options, read_all};

fn mixed(id: usize) -> NewItem {
    NewItem {
        priority: Priority::new((id % 4 * 3) as u8).unwrap(),
        ..item(id, 800)
    }
}

#[tokio::test]
async fn a_drained_backlog_gives_its_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let options = QueueOptions {
        max_bytes: 64 * MIB,
        ..options(&path, WhenFull::Reject)
    };
    let queue = Queue::open(options.clone()).unwrap();
    queue.append(vec![item("first", 10)]).await.unwrap();
    for batch in 0..20 {
        let items = (0..1000).map(|id| mixed(batch * 1000 + id)).collect();
        queue.append(items).await.unwrap();
    }
    let full = disk_bytes(&path);
    assert!(full > 16 * MIB, "{full}");
    // New items come in while it drains; none waits for long.
    let mut slowest = Duration::ZERO;
    let mut after = Sequence::START;
    let mut kept = Vec::new();
    while after < Sequence(20_001) {
        let items = queue.read(after, 500, usize::MAX).await.unwrap();
        after = items.last().unwrap().sequence;
        queue
            .remove(items.iter().map(|item| item.sequence).collect())
            .await
            .unwrap();
        let start = Instant::now();
        kept.extend(queue.append(vec![mixed(kept.len())]).await.unwrap());
        slowest = slowest.max(start.elapsed());
        assert!(disk_bytes(&path) <= 64 * MIB);
    }
    kept.retain(|sequence| *sequence > after);
    let stats = queue.stats();
    assert!(stats.compactions > 0, "{stats:?}");
    let database = std::fs::metadata(&path).unwrap().len();
    assert!(database < 3 * MIB / 2, "{database}: {stats:?}");
    assert_eq!(disk_bytes(&path), stats.file_bytes);
    // Generous: the machines that run tests are busy.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let numbers = |items: Vec<store_forward::StoredItem>| -> Vec<_> {
        items.into_iter().map(|item| item.sequence).collect()
    };
    assert_eq!(numbers(read_all(&queue).await), kept);
    // It is laid out as ever: nothing is written anew at the next opening, and it takes items again.
    drop(queue);
    let queue = Queue::open(options).unwrap();
    assert_eq!(queue.stats().last_error, None);
    assert_eq!(numbers(read_all(&queue).await), kept);
    queue.append((0..2000).map(mixed).collect()).await.unwrap();
    assert_eq!(queue.stats().depth, kept.len() as u64 + 2000);
}

#[tokio::test]
async fn bytes_to_the_disk_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let options = QueueOptions {
        max_bytes: 8 * MIB,
        ..options(&path, WhenFull::Reject)
    };
    let queue = Queue::open(options).unwrap();
    let before = queue.stats().written_bytes;
    for _ in 0..30 {
        queue.append((0..100).map(mixed).collect()).await.unwrap();
    }
    let stats = queue.stats();
    let written = stats.written_bytes - before;
    // Once to the log, and most of it once more to the database.
    assert!(written > stats.appended_bytes, "{stats:?}");
    assert!(written < 4 * stats.appended_bytes, "{stats:?}");
    assert!(written >= disk_bytes(&path).saturating_sub(MIB));
}
