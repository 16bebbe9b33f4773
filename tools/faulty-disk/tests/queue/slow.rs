//! What syncs cost: a disk that takes 100 ms for each, and a file system with a journal.

use std::time::Duration;

use faulty_disk::queue::item;

use crate::{Machine, all_sequences, append};

const CALLERS: u64 = 64;
const CALLS: u64 = 5;

/// Callers share syncs, so a slow disk costs time to the first answer and not throughput.
#[tokio::test]
async fn callers_share_slow_syncs() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    machine
        .disk
        .set_faults(|faults| faults.sync_takes = Duration::from_millis(100));
    let before = machine.disk.syncs();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let queue = queue.clone();
        callers.spawn(async move {
            for call in 0..CALLS {
                queue.append(vec![item(caller * CALLS + call)]).await?;
            }
            Ok::<_, store_forward::AppendError>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap().unwrap();
    }
    let syncs = machine.disk.syncs() - before;
    // One for each round of all callers, and some for a first one that came alone and for copying the log.
    assert!(syncs <= 3 * CALLS, "{syncs} syncs for {CALLS} rounds");
    assert_eq!(all_sequences(&queue).await.len() as u64, CALLERS * CALLS);
    let stats = queue.stats();
    assert_eq!((stats.storage_errors, stats.depth), (0, CALLERS * CALLS));
    assert!(stats.writable);
    queue.close().await.unwrap();
}

/// A sync of the times of a file as well would be a commit of the file system's journal for each commit of the queue. SQLite must
/// be built to know that there is another one: `.cargo/config.toml`.
#[tokio::test]
async fn a_commit_syncs_no_more_than_its_data() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    append(&queue, 0..10).await;
    let (all, whole) = (machine.disk.syncs(), machine.disk.whole_syncs());
    for id in 0..20 {
        append(&queue, id * 10..id * 10 + 10).await;
    }
    assert!(machine.disk.syncs() >= all + 20);
    assert_eq!(machine.disk.whole_syncs(), whole);
    queue.close().await.unwrap();
}
