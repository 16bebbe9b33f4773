//! A folder for a copy of a queue's file, which goes when it is not needed any more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::size::size;

/// How such folders are called, so that those of runs that were killed are found.
const PREFIX: &str = ".fieldgate-queue-copy-";
/// Locked by who uses the folder.
const LOCK: &str = "in-use";
/// Beside the copy: its log, when it is opened.
const ROOM: u64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a folder with room for so many bytes: in `wanted`, else beside the queue's file, which has a disk, else among temporary
    /// files, which may be in memory.
    pub(super) fn new(queue: &Path, wanted: Option<&Path>, bytes: u64) -> Result<Self> {
        let own = match queue.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folders = match wanted {
            Some(folder) => vec![folder.to_owned()],
            None => vec![own.to_owned(), std::env::temp_dir()],
        };
        let mut refused = Vec::new();
        for folder in &folders {
            match Self::in_folder(folder, bytes) {
                Ok(scratch) => return Ok(scratch),
                Err(error) => refused.push(format!("{}: {error:#}", folder.display())),
            }
        }
        bail!(
            "there is no room for a copy of {}, which is needed to look into it: {}; name a folder with --scratch",
            queue.display(),
            refused.join("; ")
        )
    }

    fn in_folder(folder: &Path, bytes: u64) -> Result<Self> {
        clear(folder);
        let disk = statvfs(folder).context("the file system")?;
        let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
        let needed = bytes + ROOM;
        if free < needed {
            bail!("{} are free, {} are needed", size(free), size(needed));
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(folder)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().context("locking a file")?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where the copy goes.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }
}

/// Takes away what runs that were killed have left.
fn clear(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let abandoned = || File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && abandoned() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_left_goes_and_one_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        let left = folder.path().join(format!("{PREFIX}x"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let first = Scratch::new(&queue, None, 0).unwrap();
        let second = Scratch::new(&queue, None, 0).unwrap();
        assert!(!left.exists() && first.file().parent().unwrap().exists());
        drop((first, second));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_room_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        let error = Scratch::new(&queue, Some(folder.path()), 1 << 60).unwrap_err();
        assert!(error.to_string().contains("--scratch"), "{error}");
    }
}
