//! Counters that anybody may read at any time without asking the queue's thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a queue holds and what it has done since it was opened. Each figure is exact; figures of one snapshot may be a
/// commit apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Items in the queue.
    pub depth: u64,
    /// Bytes of all their parts, without the overhead of the file.
    pub payload_bytes: u64,
    /// Bytes on disk: database file and write-ahead log. Never above `max_bytes`.
    pub file_bytes: u64,
    /// Age of the oldest item by the machine's clock; zero if the clock went back. None if the queue is empty.
    pub oldest_age: Option<Duration>,
    /// Whether the last write that was not a removal was synced to the disk. False before the first: see
    /// [`Queue::trial_write`](crate::Queue::trial_write).
    pub writable: bool,
    /// Items stored.
    pub appended: u64,
    /// Items removed by [`Queue::remove`](crate::Queue::remove).
    pub removed: u64,
    /// Items dropped to make room for newer ones.
    pub dropped_oldest: u64,
    /// New items dropped because there was no room.
    pub dropped_newest: u64,
    /// Items of a newer release that this one cannot keep: `last_error` has the reason.
    pub dropped_downgrade: u64,
    /// New items refused because there was no room.
    pub rejected: u64,
    /// Items lost because their row was damaged or could no longer be read.
    pub corrupt_rows: u64,
    /// Damaged database files and write-ahead logs that were set aside.
    pub corrupt_files: u64,
    /// Failures of the storage: disk full, input/output errors.
    pub storage_errors: u64,
    /// The last failure of the storage or damage, in words.
    pub last_error: Option<String>,
}

/// `oldest` when the queue is empty.
const NONE: i64 = i64::MIN;

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) depth: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) file_bytes: AtomicU64,
    /// Microseconds since 1970.
    oldest: AtomicI64,
    pub(crate) writable: AtomicBool,
    pub(crate) appended: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) dropped_oldest: AtomicU64,
    pub(crate) dropped_newest: AtomicU64,
    pub(crate) dropped_downgrade: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) corrupt_rows: AtomicU64,
    pub(crate) corrupt_files: AtomicU64,
    pub(crate) storage_errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            depth: AtomicU64::default(),
            payload_bytes: AtomicU64::default(),
            file_bytes: AtomicU64::default(),
            oldest: AtomicI64::new(NONE),
            writable: AtomicBool::default(),
            appended: AtomicU64::default(),
            removed: AtomicU64::default(),
            dropped_oldest: AtomicU64::default(),
            dropped_newest: AtomicU64::default(),
            dropped_downgrade: AtomicU64::default(),
            rejected: AtomicU64::default(),
            corrupt_rows: AtomicU64::default(),
            corrupt_files: AtomicU64::default(),
            storage_errors: AtomicU64::default(),
            last_error: Mutex::default(),
        }
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        if by > 0 {
            counter.fetch_add(by, Relaxed);
        }
    }

    pub(crate) fn set_oldest(&self, micros: Option<i64>) {
        self.oldest.store(micros.unwrap_or(NONE), Relaxed);
    }

    pub(crate) fn set_last_error(&self, message: String) {
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = Some(message);
    }

    pub(crate) fn snapshot(&self) -> QueueStats {
        let oldest = match self.oldest.load(Relaxed) {
            NONE => None,
            micros => Some(age(micros)),
        };
        QueueStats {
            depth: self.depth.load(Relaxed),
            payload_bytes: self.payload_bytes.load(Relaxed),
            file_bytes: self.file_bytes.load(Relaxed),
            oldest_age: oldest,
            writable: self.writable.load(Relaxed),
            appended: self.appended.load(Relaxed),
            removed: self.removed.load(Relaxed),
            dropped_oldest: self.dropped_oldest.load(Relaxed),
            dropped_newest: self.dropped_newest.load(Relaxed),
            dropped_downgrade: self.dropped_downgrade.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            corrupt_rows: self.corrupt_rows.load(Relaxed),
            corrupt_files: self.corrupt_files.load(Relaxed),
            storage_errors: self.storage_errors.load(Relaxed),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Microseconds since 1970 by the machine's clock.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn age(enqueued: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_micros().saturating_sub(enqueued)).unwrap_or_default())
}
