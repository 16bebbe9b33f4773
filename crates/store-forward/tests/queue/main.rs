//! The queue as its users see it: promises, bounds, crashes, damage.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is test code; clippy knows only test functions"
)]

mod bounds;
mod clock;
mod compaction;
mod copy;
mod damage;
mod disk;
mod kill;
mod lifetime;
mod model;
mod note;
mod order;
mod priority;
mod purge;

use std::path::Path;

use bytes::Bytes;
use store_forward::{NewItem, Queue, QueueOptions, Sequence, StoredItem, WhenFull};

const MIB: u64 = 1 << 20;

fn options(path: &Path, when_full: WhenFull) -> QueueOptions {
    QueueOptions {
        commit_delay: std::time::Duration::ZERO,
        ..QueueOptions::new(path, MIB, when_full)
    }
}

/// An item whose content tells its id.
fn item(id: impl ToString, payload: usize) -> NewItem {
    let id = id.to_string();
    let payload: Vec<u8> = id.bytes().cycle().take(payload).collect();
    NewItem {
        key: format!("key of {id}"),
        properties: Bytes::from(format!("p={id}")),
        id,
        payload: payload.into(),
        ..NewItem::default()
    }
}

fn same(stored: &StoredItem, new: &NewItem) -> bool {
    (&stored.key, &stored.id, &stored.properties, &stored.payload)
        == (&new.key, &new.id, &new.properties, &new.payload)
        && (stored.priority, &stored.route, stored.lifetime)
            == (new.priority, &new.route, new.lifetime)
}

async fn read_all(queue: &Queue) -> Vec<StoredItem> {
    let mut all: Vec<StoredItem> = Vec::new();
    loop {
        let after = all.last().map_or(Sequence::START, |last| last.sequence);
        let mut items = queue.read(after, 50, usize::MAX).await.unwrap();
        if items.is_empty() {
            return all;
        }
        all.append(&mut items);
    }
}

/// Bytes that the queue has on disk.
fn disk_bytes(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path.as_os_str(), &log]
        .into_iter()
        .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()))
        .sum()
}

/// Copies database and log, as a power cut would leave them, to another name.
fn copy_files(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let log = |path: &Path| format!("{}-wal", path.display());
    let _ = std::fs::remove_file(log(to));
    if Path::new(&log(from)).exists() {
        std::fs::copy(log(from), log(to)).unwrap();
    }
}
