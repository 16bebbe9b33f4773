//! Up to releases that do not exist yet, and back.

mod first;
mod killed;
mod model;
mod refused;
mod releases;
mod taken;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::releases::{rows, start};
use super::*;
use crate::lock::beside;
use crate::store::Store;
use crate::{NewItem, Queue, QueueOptions, QueueStats, Sequence, StoredItem, WhenFull};

const BOUND: u64 = 8 << 20;

fn options(path: &Path, max_bytes: u64, when_full: WhenFull) -> QueueOptions {
    QueueOptions {
        commit_delay: Duration::ZERO,
        ..QueueOptions::new(path, max_bytes, when_full)
    }
}

fn connect(path: &Path, max_bytes: u64) -> Store {
    Store::connect(path, &options(path, max_bytes, WhenFull::Reject)).unwrap()
}

fn item(id: u64, size: u16) -> NewItem {
    NewItem {
        key: format!("key of {id}"),
        id: id.to_string(),
        properties: format!("p={id}").into(),
        payload: id
            .to_string()
            .bytes()
            .cycle()
            .take(usize::from(size))
            .collect::<Vec<_>>()
            .into(),
        ..NewItem::default()
    }
}

fn plain(stored: StoredItem) -> NewItem {
    NewItem {
        key: stored.key,
        id: stored.id,
        properties: stored.properties,
        payload: stored.payload,
        priority: stored.priority,
        route: stored.route,
        lifetime: stored.lifetime,
    }
}

/// Sequence number to item and kind.
type Rows = BTreeMap<u64, (NewItem, u32)>;

async fn read_all(queue: &Queue) -> Rows {
    let mut all = Rows::new();
    let mut after = Sequence::START;
    loop {
        let items = queue.read(after, 100, usize::MAX).await.unwrap();
        let Some(last) = items.last() else {
            return all;
        };
        after = last.sequence;
        all.extend(
            items
                .into_iter()
                .map(|item| (item.sequence.0, (plain(item), 0))),
        );
    }
}

/// A file of version 4 with items of all sizes.
async fn sample(folder: &Path) -> (PathBuf, Rows) {
    let path = folder.join("sample.db");
    let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    let items: Vec<_> = (1..=60).map(|id| item(id, (id % 7 * 900) as u16)).collect();
    queue.append(items).await.unwrap();
    queue.remove(vec![Sequence(3), Sequence(60)]).await.unwrap();
    let rows = read_all(&queue).await;
    queue.close().await.unwrap();
    start(&path, 4, BOUND).0.close().unwrap();
    (path, rows)
}

fn assert_sound(stats: &QueueStats) {
    let damage = (
        stats.corrupt_rows,
        stats.corrupt_files,
        stats.storage_errors,
    );
    assert_eq!((damage, stats.dropped_oldest), ((0, 0, 0), 0), "{stats:?}");
}

/// Copies database and log, as a power cut would leave them.
fn copy_files(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let (from, to) = (beside(from, "-wal"), beside(to, "-wal"));
    let _ = std::fs::remove_file(&to);
    if from.exists() {
        std::fs::copy(from, to).unwrap();
    }
}

/// The newer release finds everything as it was, whatever the older one made of its visit.
fn assert_untouched(path: &Path, expected: &Rows) {
    let (store, _) = start(path, 4, BOUND);
    assert_eq!(&rows(&store.connection, 4), expected);
    assert_eq!(read(&store.connection, 2, 4).unwrap().len(), 2);
}
