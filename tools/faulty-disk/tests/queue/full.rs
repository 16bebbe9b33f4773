//! No room, and no right to write.

use faulty_disk::Disk;
use faulty_disk::queue::item;
use store_forward::{AppendError, Queue, QueueStats, Sequence};

use crate::{Machine, all_sequences, append};

/// Nothing was lost or dropped, and nothing is said to be.
fn nothing_lost(stats: &QueueStats) {
    assert_eq!(
        (
            stats.corrupt_rows,
            stats.corrupt_files,
            stats.dropped_oldest,
            stats.dropped_newest,
            stats.rejected
        ),
        (0, 0, 0, 0, 0),
        "{stats:?}"
    );
}

/// Appends until the disk refuses, and returns what was stored.
async fn fill(queue: &Queue, first: u64) -> Vec<Sequence> {
    let mut stored = Vec::new();
    for id in first.. {
        match queue.append(vec![item(id)]).await {
            Ok(sequences) => stored.extend(sequences),
            Err(error) => {
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
                break;
            }
        }
    }
    stored
}

fn room(disk: &Disk, bytes: u64) {
    let used = disk.used();
    disk.set_faults(|faults| faults.capacity = Some(used + bytes));
}

#[tokio::test]
async fn a_full_disk_refuses_appends_lets_removals_through_and_heals() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    let mut stored = append(&queue, 0..50).await;
    room(&machine.disk, 200 << 10);
    stored.extend(fill(&queue, 50).await);
    assert!(stored.len() > 60, "{}", stored.len());
    let stats = queue.stats();
    assert!(!stats.writable && stats.storage_errors > 0);
    assert!(stats.last_error.is_some());
    nothing_lost(&stats);
    assert_eq!(stats.depth, stored.len() as u64);
    assert_eq!(all_sequences(&queue).await, stored);

    // What is sent leaves, and makes room for as much.
    queue.remove(stored.drain(..30).collect()).await.unwrap();
    stored.extend(append(&queue, 10_000..10_010).await);
    assert!(queue.stats().writable);
    stored.extend(fill(&queue, 20_000).await);

    // The power fails while the disk is full.
    drop(queue);
    let machine = machine.power_cut();
    let queue = machine.open().unwrap();
    nothing_lost(&queue.stats());
    assert_eq!(all_sequences(&queue).await, stored);
    queue.remove(stored.drain(..20).collect()).await.unwrap();

    machine.disk.set_faults(|faults| faults.capacity = None);
    for round in 0..20 {
        stored.extend(append(&queue, 30_000 + round * 50..30_050 + round * 50).await);
    }
    assert_eq!(all_sequences(&queue).await, stored);
    nothing_lost(&queue.stats());
    drop(queue);
    let machine = machine.power_cut();
    let queue = machine.open().unwrap();
    assert_eq!(all_sequences(&queue).await, stored);
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_start_says_so() {
    let machine = Machine::new();
    room(&machine.disk, 0);
    let error = machine.open().unwrap_err().to_string();
    assert!(
        error.contains("queue.db") && error.contains("free space"),
        "{error}"
    );
    machine.disk.set_faults(|faults| faults.capacity = None);
    let queue = machine.open().unwrap();
    append(&queue, 0..10).await;
    nothing_lost(&queue.stats());
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_became_read_only_gives_back_what_it_has_and_heals() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    let mut stored = append(&queue, 0..50).await;
    let read_only = |on| machine.disk.set_faults(|faults| faults.read_only = on);
    read_only(true);
    let error = queue.append(vec![item(50)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let error = queue.remove(stored[..5].to_vec()).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(all_sequences(&queue).await, stored);
    let stats = queue.stats();
    assert!(!stats.writable && stats.storage_errors > 0);
    nothing_lost(&stats);
    assert_eq!(stats.depth, 50);

    read_only(false);
    queue.remove(stored.drain(..5).collect()).await.unwrap();
    stored.extend(append(&queue, 50..60).await);
    assert_eq!(all_sequences(&queue).await, stored);
    drop(queue);
    let machine = machine.power_cut();
    let queue = machine.open().unwrap();
    assert_eq!(all_sequences(&queue).await, stored);
    nothing_lost(&queue.stats());
    queue.close().await.unwrap();
}

/// What a module finds that is started on such a disk: an error that says what to do, and later all its items.
#[tokio::test]
async fn a_queue_on_a_read_only_disk_does_not_open_and_loses_nothing() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    let stored = append(&queue, 0..50).await;
    drop(queue);
    let machine = machine.power_cut();
    machine.disk.set_faults(|faults| faults.read_only = true);
    let before = machine.disk.image();
    let error = machine.open().unwrap_err().to_string();
    assert!(
        error.contains("queue.db") && error.contains("is writable"),
        "{error}"
    );
    assert!(machine.disk.image() == before);
    machine.disk.set_faults(|faults| faults.read_only = false);
    let queue = machine.open().unwrap();
    assert_eq!(all_sequences(&queue).await, stored);
    nothing_lost(&queue.stats());
    queue.close().await.unwrap();
}
