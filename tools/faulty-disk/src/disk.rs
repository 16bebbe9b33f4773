//! The disk: files in one folder, the faults in force, and the power.

mod operations;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::Errno;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::content::{Content, Odds, PAGE, SECTOR};
use crate::fault::Faults;
use crate::folder::{Folder, Inode};

pub(crate) use operations::Attributes;

/// The first number of a file; 1 is the folder.
const FIRST: Inode = 2;

/// A disk. Whatever a [`Mount`](crate::Mount) of it does and what is done here is safe from several threads.
#[derive(Debug, Default)]
pub struct Disk {
    state: Mutex<State>,
    power: Condvar,
}

/// What of the writes that were not synced is there after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// A random part: pages in any order, torn at sectors; names in their order.
    Some,
}

/// The files of a disk with their content.
pub type Image = BTreeMap<OsString, Vec<u8>>;

/// Why the disk could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file, or it is shorter.
    #[error("the disk has no byte {at} in a file {file}")]
    NoSuchByte {
        /// Name of the file.
        file: String,
        /// The byte.
        at: u64,
    },
    /// A file outside the disk cannot be read or written.
    #[error("{}: {error}", path.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

#[derive(Debug)]
struct State {
    files: BTreeMap<Inode, File>,
    folder: Folder,
    next: Inode,
    faults: Faults,
    on: bool,
    /// Changes until the power fails.
    countdown: Option<u64>,
    syncs: u64,
    whole_syncs: u64,
}

#[derive(Debug)]
struct File {
    content: Content,
    changed: SystemTime,
    opens: u64,
    /// Sectors that cannot be read.
    lost: BTreeSet<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            folder: Folder::default(),
            next: FIRST,
            faults: Faults::default(),
            on: true,
            countdown: None,
            syncs: 0,
            whole_syncs: 0,
        }
    }
}

impl Disk {
    /// An empty disk without faults.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes the files of a folder in, as synced ones. Folders in it are passed over.
    ///
    /// # Errors
    ///
    /// [`DiskError::Outside`].
    pub fn load(&self, from: &Path) -> Result<(), DiskError> {
        let outside = |path: &Path, error| DiskError::Outside {
            path: path.to_owned(),
            error,
        };
        let mut image = Image::new();
        for entry in std::fs::read_dir(from).map_err(|error| outside(from, error))? {
            let entry = entry.map_err(|error| outside(from, error))?;
            let path = entry.path();
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(|error| outside(&path, error))?;
                image.insert(entry.file_name(), bytes);
            }
        }
        self.put(image);
        Ok(())
    }

    /// Writes all files into a folder outside, as programs see them.
    ///
    /// # Errors
    ///
    /// [`DiskError::Outside`].
    pub fn save(&self, into: &Path) -> Result<(), DiskError> {
        let outside = |path: &Path, error| DiskError::Outside {
            path: path.to_owned(),
            error,
        };
        std::fs::create_dir_all(into).map_err(|error| outside(into, error))?;
        for (name, bytes) in self.image() {
            let path = into.join(name);
            std::fs::write(&path, bytes).map_err(|error| outside(&path, error))?;
        }
        Ok(())
    }

    /// All files as programs see them.
    pub fn image(&self) -> Image {
        let state = self.lock();
        let files = state.folder.names().filter_map(|(name, inode)| {
            let file = state.files.get(&inode)?;
            Some((name.to_owned(), file.content.bytes().to_vec()))
        });
        files.collect()
    }

    /// Replaces all files by these, which are synced. Nobody may have one open.
    pub fn put(&self, image: Image) {
        let mut state = self.lock();
        let mut names = Vec::new();
        state.files.clear();
        for (name, bytes) in image {
            let inode = state.add_file(Content::new(bytes));
            names.push((name, inode));
        }
        state.folder = Folder::new(names.into_iter());
    }

    /// What programs see of a file.
    pub fn bytes(&self, file: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.folder.find(OsStr::new(file))?;
        Some(state.files.get(&inode)?.content.bytes().to_vec())
    }

    /// Flips a bit (0 to 7) of a file where it lies: for programs and for what survives a power cut.
    ///
    /// # Errors
    ///
    /// [`DiskError::NoSuchByte`].
    pub fn flip(&self, file: &str, at: u64, bit: u8) -> Result<(), DiskError> {
        let mut state = self.lock();
        let missing = || DiskError::NoSuchByte {
            file: file.to_owned(),
            at,
        };
        let place = usize::try_from(at).map_err(|_| missing())?;
        let inode = state.folder.find(OsStr::new(file)).ok_or_else(missing)?;
        let file = state.files.get_mut(&inode).ok_or_else(missing)?;
        if place >= file.content.len() {
            return Err(missing());
        }
        file.content.flip(place, bit);
        Ok(())
    }

    /// Makes the sector of a file with this byte unreadable (EIO) until it is written again. Stays with the file when it is
    /// renamed.
    ///
    /// # Errors
    ///
    /// [`DiskError::NoSuchByte`].
    pub fn lose_sector(&self, file: &str, at: u64) -> Result<(), DiskError> {
        let mut state = self.lock();
        let missing = || DiskError::NoSuchByte {
            file: file.to_owned(),
            at,
        };
        let inode = state.folder.find(OsStr::new(file)).ok_or_else(missing)?;
        let file = state.files.get_mut(&inode).ok_or_else(missing)?;
        if at >= file.content.len() as u64 {
            return Err(missing());
        }
        file.lost.insert(at / SECTOR as u64);
        Ok(())
    }

    /// Changes the faults in force.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// The faults in force, with what is left of their counts.
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Bytes that all files take, each in whole pages.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Syncs of files and of the folder so far, without those that failed.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Those among them that wanted the times of a file on the disk as well (fsync, not fdatasync): of a file system with a
    /// journal each is a commit.
    pub fn whole_syncs(&self) -> u64 {
        self.lock().whole_syncs
    }

    /// Whether everything that programs see would survive a power cut.
    pub fn is_synced(&self) -> bool {
        let state = self.lock();
        state.files.values().all(|file| file.content.is_synced())
    }

    /// The power fails now: every operation from here on fails, until [`Disk::power_up`].
    pub fn cut(&self) {
        self.lock().on = false;
        self.power.notify_all();
    }

    /// The power fails instead of the change with this number from now: 1 is the next write, truncation, new name or sync.
    pub fn cut_after(&self, changes: u64) {
        self.lock().countdown = Some(changes);
    }

    /// Waits until the power has failed, and says whether it has.
    pub fn wait_for_cut(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let mut state = self.lock();
        while state.on {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .power
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        true
    }

    /// The power is back. What was not synced is gone, except for what survives. Nobody may have a file open.
    pub fn power_up(&self, survival: Survival, chance: &mut StdRng) {
        let mut state = self.lock();
        let odds = (survival == Survival::Some).then(|| {
            // Now and then all of it: the cut came when the disk was just done and had not said so.
            if chance.random_bool(0.2) {
                Odds::ALL
            } else {
                Odds {
                    page: chance.random_range(0.0..1.0),
                    torn: chance.random_range(0.0..0.5),
                }
            }
        });
        state.folder.cut(odds.is_some(), chance);
        for file in state.files.values_mut() {
            file.content.cut(odds, chance);
            file.opens = 0;
        }
        state.purge();
        state.on = true;
        state.countdown = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn powered(&self) -> Result<(), Errno> {
        if self.on { Ok(()) } else { Err(Errno::EIO) }
    }

    fn add_file(&mut self, content: Content) -> Inode {
        let inode = self.next;
        self.next += 1;
        let file = File {
            content,
            changed: SystemTime::now(),
            opens: 0,
            lost: BTreeSet::new(),
        };
        self.files.insert(inode, file);
        inode
    }

    fn file(&mut self, inode: Inode) -> Result<&mut File, Errno> {
        self.files.get_mut(&inode).ok_or(Errno::ENOENT)
    }

    fn attributes(&self, inode: Inode) -> Result<Attributes, Errno> {
        let file = self.files.get(&inode).ok_or(Errno::ENOENT)?;
        Ok(Attributes {
            inode,
            bytes: file.content.len() as u64,
            changed: file.changed,
        })
    }

    fn used(&self) -> u64 {
        let pages = self
            .files
            .values()
            .map(|file| file.content.len().div_ceil(PAGE) as u64);
        pages.sum::<u64>() * PAGE as u64
    }

    /// Whether a file may become so long.
    fn room_for(&mut self, inode: Inode, length: u64) -> Result<(), Errno> {
        let page = PAGE as u64;
        let now = (self.file(inode)?.content.len() as u64).div_ceil(page);
        let grown = length.div_ceil(page).saturating_sub(now) * page;
        match self.faults.capacity {
            Some(capacity) if grown > 0 && self.used() + grown > capacity => Err(Errno::ENOSPC),
            _ => Ok(()),
        }
    }

    /// Forgets files without a name that nobody has open.
    fn purge(&mut self) {
        let folder = &self.folder;
        self.files
            .retain(|inode, file| file.opens > 0 || folder.has(*inode));
    }
}
