//! The queue of iothub-module on a disk that loses power, fills up, fails, is slow, and rots.
//!
//! These tests mount file systems: as root, or where fusermount3 is installed. They fail elsewhere, and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this is test code; clippy knows only test functions"
)]

mod errors;
mod flips;
mod full;
mod pages;
mod power_cuts;
mod slow;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use faulty_disk::queue::{item, read_all};
use faulty_disk::{Disk, Mount, Survival};
use rand::SeedableRng;
use rand::rngs::StdRng;
use store_forward::{OpenError, Queue, QueueOptions, Sequence, StoredItem, WhenFull};

const FILE: &str = "queue.db";
const LOG: &str = "queue.db-wal";

/// A disk, mounted.
struct Machine {
    disk: Arc<Disk>,
    // Before the folder: it is unmounted first.
    _mount: Mount,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self::with(Disk::new())
    }

    fn with(disk: Arc<Disk>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = Mount::new(Arc::clone(&disk), folder.path()).expect("the disk is mounted");
        Self {
            disk,
            _mount: mount,
            folder,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn options(&self) -> QueueOptions {
        QueueOptions {
            commit_delay: Duration::ZERO,
            ..QueueOptions::new(self.path(), 16 << 20, WhenFull::Reject)
        }
    }

    fn open(&self) -> Result<Queue, OpenError> {
        Queue::open(self.options())
    }

    /// The power fails and comes back: only what was synced is there.
    fn power_cut(self) -> Self {
        self.disk.cut();
        let Self {
            disk,
            _mount,
            folder,
        } = self;
        drop(_mount);
        drop(folder);
        disk.power_up(Survival::Nothing, &mut StdRng::seed_from_u64(0));
        Self::with(disk)
    }
}

/// Appends the items with these numbers in one call.
async fn append(queue: &Queue, ids: std::ops::Range<u64>) -> Vec<Sequence> {
    queue.append(ids.map(item).collect()).await.unwrap()
}

fn sequences(items: &[StoredItem]) -> Vec<Sequence> {
    items.iter().map(|item| item.sequence).collect()
}

async fn all_sequences(queue: &Queue) -> Vec<Sequence> {
    sequences(&read_all(queue).await.unwrap())
}
