//! Removes everything below a folder but a few files.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ResetError;
use crate::disk::Disk;
use crate::places::{STATE, below};

/// A path may have 4096 bytes (PATH_MAX), and what a container made may lie deeper: such a folder is brought up first.
const LONGEST: usize = 2048;
/// What is written over before it is removed, at most, in bytes: keys, passphrases, tokens.
const LARGEST_SECRET: u64 = 1 << 20;

pub(super) struct Removal<'a> {
    disk: &'a Disk,
    /// The data partition, on this machine.
    data: PathBuf,
    device: u64,
    keep: BTreeSet<PathBuf>,
    /// Where files that only root may read hold secrets.
    secret: [PathBuf; 6],
    /// How many folders were brought up.
    moved: usize,
}

impl<'a> Removal<'a> {
    /// `keep` are paths of the device.
    pub(super) fn new(
        disk: &'a Disk,
        root: &Path,
        data: &str,
        keep: impl Iterator<Item = PathBuf>,
    ) -> Result<Self, ResetError> {
        let data = below(root, data);
        let device = at(&data, fs::metadata(&data))?.dev();
        Ok(Self {
            disk,
            device,
            keep: keep.map(|path| below(root, path)).collect(),
            secret: [
                data.join("etc"),
                below(root, STATE),
                data.join("fieldgate/agent"),
                data.join("fieldgate/update"),
                data.join("k3s/server"),
                data.join("k3s/agent"),
            ],
            data,
            moved: 0,
        })
    }

    /// Removes everything; may be cut off anywhere and repeated.
    pub(super) fn run(&mut self) -> Result<(), ResetError> {
        let data = self.data.clone();
        loop {
            let before = self.moved;
            self.clear(&data)?;
            if self.moved == before {
                return Ok(());
            }
        }
    }

    /// Clears a folder and says whether it is empty now.
    fn clear(&mut self, folder: &Path) -> Result<bool, ResetError> {
        let mut names = Vec::new();
        for entry in at(folder, fs::read_dir(folder))? {
            names.push(at(folder, entry)?.file_name());
        }
        let count = names.len();
        let mut left = 0;
        for name in names {
            let path = folder.join(&name);
            // fsck puts there what it finds without a name, and makes the folder only when it is asked to.
            let is_of_file_system = folder == self.data && name == "lost+found";
            if is_of_file_system || self.keep.contains(&path) {
                left += 1;
                continue;
            }
            let found = at(&path, fs::symlink_metadata(&path))?;
            if !found.is_dir() {
                self.remove(&path, &found)?;
            } else if found.dev() != self.device {
                return Err(ResetError::Mounted(path));
            } else if path.as_os_str().len() > LONGEST {
                self.bring_up(&path)?;
            } else if self.clear(&path)? {
                at(&path, self.disk.remove_folder(&path))?;
            } else {
                left += 1;
            }
        }
        // One that is removed itself takes its names along.
        if left > 0 && left < count || folder == self.data {
            at(folder, self.disk.sync(folder))?;
        }
        Ok(left == 0)
    }

    fn remove(&self, path: &Path, found: &Metadata) -> Result<(), ResetError> {
        let is_secret = found.is_file()
            && found.mode() & 0o077 == 0
            && found.nlink() == 1
            && found.len() <= LARGEST_SECRET
            && self.secret.iter().any(|folder| path.starts_with(folder));
        if is_secret {
            let zeros = vec![0; usize::try_from(found.len()).unwrap_or_default()];
            at(path, self.disk.overwrite(path, &[(0, &zeros)]))?;
        }
        at(path, self.disk.unlink(path))
    }

    fn bring_up(&mut self, path: &Path) -> Result<(), ResetError> {
        loop {
            let free = self.data.join(format!(".reset-{}", self.moved));
            self.moved += 1;
            // One may be left of a run that was cut off.
            if free.symlink_metadata().is_err() {
                return at(path, self.disk.rename(path, &free));
            }
        }
    }
}

fn at<T>(path: &Path, done: io::Result<T>) -> Result<T, ResetError> {
    done.map_err(|source| ResetError::Disk {
        path: path.to_owned(),
        source,
    })
}
