//! Where the queue lives and what bounds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::age::{Clock, SystemClock};
use crate::error::OpenError;

/// What happens to an append that finds the queue at its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The append succeeds, and items make room: the lowest priority first, and of it the oldest. A new item makes room for
    /// none of a higher priority: where only such are stored it is itself dropped, with a sequence number.
    DropOldest,
    /// The new items that find no room are dropped, whatever their priority. The append succeeds and they have sequence
    /// numbers, so that the gap can be seen.
    DropNewest,
    /// The append fails with [`AppendError::Full`](crate::AppendError::Full) and nothing is stored: the source keeps
    /// the items and tries again.
    Reject,
}

/// Options of [`Queue::open`](crate::Queue::open).
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// The database file. Its folder must exist; `PATH-wal` and, after damage, `PATH.damaged-UNIXTIME` lie beside it.
    pub path: PathBuf,
    /// Bound of the bytes on disk: database file, free pages in it, and write-ahead log. At least
    /// [`QueueOptions::MIN_BYTES`]. A quarter of it, at most
    /// 16 MiB, is set aside for the log.
    pub max_bytes: u64,
    /// What happens at the bound.
    pub when_full: WhenFull,
    /// The longest that an append waits for others to share its commit with, at most [`QueueOptions::MAX_DELAY`].
    /// Zero: commit at once. Counted in whole milliseconds, rounded up.
    pub commit_delay: Duration,
    /// A commit starts when so many items (appended and removed) wait for it; at least 1.
    pub commit_items: usize,
    /// A commit starts when so many bytes wait for it; at least 1.
    pub commit_bytes: usize,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl QueueOptions {
    /// The least `max_bytes`: 1 MiB. One item may take about a sixteenth of `max_bytes` (at most 4 MiB), so items of
    /// 256 KB, the most that IoT Hub takes, need 8 MiB.
    pub const MIN_BYTES: u64 = 1024 * 1024;
    /// The most `commit_delay`: 10 s.
    pub const MAX_DELAY: Duration = Duration::from_secs(10);

    /// Options with the default group commit: 50 ms, 256 items or 1 MiB, whichever comes first. At 2,000 items per second
    /// of 300 bytes that writes less than three bytes per byte of the items.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64, when_full: WhenFull) -> Self {
        Self {
            path: path.into(),
            max_bytes,
            when_full,
            commit_delay: Duration::from_millis(50),
            commit_items: 256,
            commit_bytes: 1024 * 1024,
            clock: Arc::new(SystemClock::new()),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |option, reason: String| {
            Err(OpenError::Option {
                path: self.path.clone(),
                option,
                reason,
            })
        };
        if self.path.file_name().is_none() {
            return refuse("path", "must name a file".to_owned());
        }
        if self.max_bytes < Self::MIN_BYTES {
            return refuse(
                "max_bytes",
                format!(
                    "is {}, must be at least {}",
                    self.max_bytes,
                    Self::MIN_BYTES
                ),
            );
        }
        if self.commit_delay > Self::MAX_DELAY {
            return refuse(
                "commit_delay",
                format!(
                    "is {:?}, must be at most {:?}",
                    self.commit_delay,
                    Self::MAX_DELAY
                ),
            );
        }
        if self.commit_items == 0 {
            return refuse("commit_items", "is 0, must be at least 1".to_owned());
        }
        if self.commit_bytes == 0 {
            return refuse("commit_bytes", "is 0, must be at least 1".to_owned());
        }
        Ok(())
    }
}
