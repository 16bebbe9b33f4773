//! Operations that fail with an input/output error, each once, wherever in the life of a queue.

use faulty_disk::queue::{Ledger, Report, item, read_all};
use faulty_disk::{Failing, Operation};
use store_forward::{OpenError, Queue, Sequence};

use crate::{FILE, Machine, all_sequences, append};

/// A queue is opened, works and is closed, with one fault on the way; then the power fails. What was acknowledged is there.
async fn once(operation: Operation, skip: u64) -> bool {
    let machine = Machine::new();
    let fault = Failing {
        skip,
        times: Some(1),
        ..Failing::all(operation)
    };
    machine.disk.set_faults(|faults| faults.failing.push(fault));
    let mut ledger = Ledger::default();
    let mut next = 0;
    for _ in 0..2 {
        let queue = open(&machine);
        work(&queue, &mut ledger, &mut next).await;
        // What fails here is reported and costs nothing.
        let _ = queue.close().await;
    }
    let hit = machine.disk.faults().failing[0].times == Some(0);
    machine.disk.set_faults(|faults| faults.failing.clear());
    let machine = machine.power_cut();
    let queue = machine.open().unwrap();
    let mut stats = queue.stats();
    // A log that could not be read once may count as damaged; no item may.
    stats.corrupt_files = 0;
    let (verdict, words) = ledger.check(&read_all(&queue).await.unwrap(), &stats);
    assert!(verdict.is_sound(), "{operation:?} after {skip}: {words:#?}");
    queue.close().await.unwrap();
    hit
}

/// A fault that passes makes one attempt fail at most.
fn open(machine: &Machine) -> Queue {
    match machine.open() {
        Err(OpenError::Storage { .. }) => machine.open().unwrap(),
        opened => opened.unwrap(),
    }
}

async fn work(queue: &Queue, ledger: &mut Ledger, next: &mut u64) {
    for round in 0..6 {
        let ids: Vec<_> = (*next..*next + 8).map(|number| number * 4).collect();
        *next += 8;
        if let Ok(sequences) = queue.append(ids.iter().copied().map(item).collect()).await {
            let sequences = sequences.into_iter().map(|sequence| sequence.0).collect();
            ledger.note(&Report::Stored { ids, sequences });
        }
        if round % 3 == 2
            && let Ok(items) = queue.read(Sequence::START, 12, 1 << 20).await
        {
            let gone: Vec<_> = items.iter().map(|item| item.sequence).collect();
            let numbers: Vec<_> = gone.iter().map(|sequence| sequence.0).collect();
            ledger.note(&Report::Removing(numbers.clone()));
            if queue.remove(gone).await.is_ok() {
                ledger.note(&Report::Removed(numbers));
            }
        }
    }
}

/// Fails the operation at its first time, its second, and so on in growing steps, until the fault is not met any more.
async fn everywhere(operation: Operation) {
    let mut skip = 0;
    let mut hits = 0;
    while once(operation, skip).await {
        hits += 1;
        skip += 1 + skip / 3;
    }
    assert!(hits > 0, "{operation:?} was never met");
}

#[tokio::test]
async fn a_sync_that_fails_is_not_believed() {
    everywhere(Operation::Sync).await;
}

#[tokio::test]
async fn a_write_that_fails_is_done_again() {
    everywhere(Operation::Write).await;
}

#[tokio::test]
async fn files_that_cannot_be_made_opened_cut_or_deleted_once() {
    for operation in [
        Operation::Create,
        Operation::Open,
        Operation::Truncate,
        Operation::Unlink,
        Operation::SyncFolder,
    ] {
        everywhere(operation).await;
    }
}

#[tokio::test]
async fn a_read_that_fails_once_costs_no_item() {
    everywhere(Operation::Read).await;
}

/// A disk that fails all writes, for as long as it likes.
#[tokio::test]
async fn a_disk_that_fails_all_writes_gives_back_what_it_has_and_heals() {
    for operation in [Operation::Write, Operation::Sync] {
        let machine = Machine::new();
        let queue = machine.open().unwrap();
        let mut stored = append(&queue, 0..50).await;
        machine
            .disk
            .set_faults(|faults| faults.failing.push(Failing::all(operation)));
        for id in 50..60 {
            let error = queue.append(vec![item(id)]).await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
        }
        assert_eq!(all_sequences(&queue).await, stored);
        assert!(!queue.stats().writable);
        machine.disk.set_faults(|faults| faults.failing.clear());
        stored.extend(append(&queue, 60..70).await);
        drop(queue);
        let machine = machine.power_cut();
        let queue = machine.open().unwrap();
        assert_eq!(all_sequences(&queue).await, stored, "{operation:?}");
        let stats = queue.stats();
        assert_eq!((stats.corrupt_rows, stats.corrupt_files), (0, 0));
        queue.close().await.unwrap();
    }
}

/// A block that can no longer be read: its rows are lost and counted, the others are not, and the queue goes on.
#[tokio::test]
async fn an_unreadable_block_costs_what_was_in_it() {
    for open_before in [false, true] {
        let machine = Machine::new();
        let queue = machine.open().unwrap();
        let stored = append(&queue, 0..2000).await;
        queue.close().await.unwrap();
        let early = open_before.then(|| machine.open().unwrap());
        let pages = machine.disk.bytes(FILE).unwrap().len() as u64 / 4096;
        for page in [pages / 3, pages / 2] {
            machine.disk.lose_sector(FILE, page * 4096).unwrap();
        }
        let queue = early.unwrap_or_else(|| machine.open().unwrap());
        let found = all_sequences(&queue).await;
        let lost = (stored.len() - found.len()) as u64;
        let stats = queue.stats();
        assert!(lost > 0 && lost < 100, "{lost}");
        assert_eq!(stats.corrupt_rows, lost, "open before: {open_before}");
        assert_eq!(stats.depth, found.len() as u64);
        append(&queue, 5000..5010).await;
        assert_eq!(all_sequences(&queue).await.len(), found.len() + 10);
        queue.close().await.unwrap();
    }
}

/// A disk that reads nothing for a while: the queue waits for it, and does not take its file for damaged.
#[tokio::test]
async fn a_disk_that_reads_nothing_for_a_while_costs_nothing() {
    let machine = Machine::new();
    let queue = machine.open().unwrap();
    let stored = append(&queue, 0..2000).await;
    queue.close().await.unwrap();
    let queue = machine.open().unwrap();
    machine
        .disk
        .set_faults(|faults| faults.failing.push(Failing::all(Operation::Read)));
    let error = read_all(&queue).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    machine.disk.set_faults(|faults| faults.failing.clear());
    assert_eq!(all_sequences(&queue).await, stored);
    let stats = queue.stats();
    assert_eq!((stats.corrupt_rows, stats.corrupt_files), (0, 0));
    queue.close().await.unwrap();
}
