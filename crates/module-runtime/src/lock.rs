//! The take-over lock: of several instances of a module on one node, the one that has it works.
//!
//! flock(2) on a file: the kernel frees it when the process ends, however it ends. It holds among the processes of one node
//! and on a local file system only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be opened or made.
    #[error(
        "cannot open the lock {path}: {source}; with --lock or FIELDGATE_LOCK give a file in a folder that exists and that this user may write"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be locked.
    #[error(
        "cannot lock {path}: {source}; with --lock or FIELDGATE_LOCK give a file on a local file system"
    )]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lock that is not held yet.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    /// Kept open between attempts, so that the file this instance waits for is the one that the other holds even where
    /// somebody deletes it meanwhile.
    file: Option<File>,
}

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HeldLock(Flock<File>);

impl HeldLock {
    /// Leaves it to the kernel to free the lock: when the process is gone, and with it every thread, connection and open
    /// file, nothing of this instance can overlap with the next one.
    pub(crate) fn keep_until_exit(self) {
        std::mem::forget(self.0);
    }
}

impl LockFile {
    /// Opens the file, or makes it. Nothing is ever written to it.
    pub(crate) fn open(path: &Path) -> Result<Self, LockError> {
        Ok(Self {
            path: path.to_owned(),
            file: Some(open(path)?),
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock if nobody has it; never blocks.
    pub(crate) fn try_take(&mut self) -> Result<Option<HeldLock>, LockError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // A lock on a file that was deleted meanwhile keeps nobody out: the next attempt is with the one that is there.
            Ok(lock) => Ok(is_at(&lock, &self.path).then(|| HeldLock(lock))),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                self.file = Some(file);
                Ok(None)
            }
            Err((_, errno)) => Err(LockError::Lock {
                path: self.path.clone(),
                source: errno.into(),
            }),
        }
    }
}

fn open(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        // Whoever can open the file could keep a module from working.
        .mode(0o600)
        .open(path)
        .map_err(|source| LockError::Open {
            path: path.to_owned(),
            source,
        })
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_the_next_gets_it_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module.lock");
        let mut first = LockFile::open(&path).unwrap();
        let mut second = LockFile::open(&path).unwrap();
        let held = first.try_take().unwrap().unwrap();
        assert!(second.try_take().unwrap().is_none());
        drop(held);
        assert!(second.try_take().unwrap().is_some());
    }

    #[test]
    fn a_deleted_file_neither_frees_the_lock_nor_counts_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module.lock");
        let held = LockFile::open(&path).unwrap().try_take().unwrap().unwrap();
        let mut waiting = LockFile::open(&path).unwrap();
        assert!(waiting.try_take().unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(waiting.try_take().unwrap().is_none(), "still held");
        drop(held);
        assert!(waiting.try_take().unwrap().is_none(), "of a deleted file");
        let held = waiting.try_take().unwrap();
        assert!(held.is_some() && path.exists());
        assert!(LockFile::open(&path).unwrap().try_take().unwrap().is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_with_the_remedy() {
        let error = LockFile::open(Path::new("/none/such/module.lock"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/none/such/module.lock"), "{error}");
        assert!(error.contains("--lock"), "{error}");
    }
}
