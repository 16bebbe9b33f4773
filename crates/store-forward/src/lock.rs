//! One owner per queue.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fault::Fault;

/// How long an owner that is just ending is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Holds `PATH.lock`. SQLite's own lock would do while the database is open, but not while a damaged one is renamed
/// and replaced. The system frees it with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(queue: &Path) -> Result<Self, Fault> {
        let name = beside(queue, ".lock");
        // A file that came from elsewhere, without its lock, was finished there.
        let finished = queue.exists() && !name.exists();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(name)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    if finished {
                        note_finished(queue)?;
                    }
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => pause(),
                Err(TryLockError::WouldBlock) => return Err(Fault::Busy),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }
}

/// Whether the queue's file was finished once: an empty one is damage then, and the remains of an interruption otherwise. Says
/// nothing of files that were made before releases noted it.
pub(crate) fn was_finished(queue: &Path) -> bool {
    std::fs::metadata(beside(queue, ".lock")).is_ok_and(|metadata| metadata.len() > 0)
}

/// Notes that the queue's file was finished.
pub(crate) fn note_finished(queue: &Path) -> std::io::Result<()> {
    if was_finished(queue) {
        return Ok(());
    }
    let mut file = File::options().write(true).open(beside(queue, ".lock"))?;
    file.write_all(b"1")?;
    file.sync_all()
}

#[expect(
    clippy::disallowed_methods,
    reason = "Queue::open is documented to block, and a file lock has no timeout"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// A path with something after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
