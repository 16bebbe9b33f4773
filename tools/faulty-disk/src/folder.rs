//! The folder: names of files, as programs see them and as they are safe.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rand::RngExt;
use rand::rngs::StdRng;

/// Number of a file.
pub(crate) type Inode = u64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    seen: BTreeMap<OsString, Inode>,
    safe: BTreeMap<OsString, Inode>,
    /// Since the last sync, oldest first.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Add(OsString, Inode),
    Remove(OsString),
    Rename(OsString, OsString),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<OsString, Inode>) {
        match self {
            Self::Add(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Folder {
    pub(crate) fn new(names: impl Iterator<Item = (OsString, Inode)>) -> Self {
        let seen: BTreeMap<_, _> = names.collect();
        Self {
            safe: seen.clone(),
            seen,
            changes: Vec::new(),
        }
    }

    pub(crate) fn find(&self, name: &OsStr) -> Option<Inode> {
        self.seen.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&OsStr, Inode)> {
        self.seen
            .iter()
            .map(|(name, inode)| (name.as_os_str(), *inode))
    }

    /// The name by which programs see a file.
    pub(crate) fn name_of(&self, inode: Inode) -> Option<&OsStr> {
        self.names()
            .find_map(|(name, found)| (found == inode).then_some(name))
    }

    pub(crate) fn add(&mut self, name: &OsStr, inode: Inode) {
        self.change(Change::Add(name.to_owned(), inode));
    }

    pub(crate) fn remove(&mut self, name: &OsStr) {
        self.change(Change::Remove(name.to_owned()));
    }

    pub(crate) fn rename(&mut self, from: &OsStr, to: &OsStr) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.changes.push(change);
    }

    /// Whether a name leads to the file, now or after a power cut.
    pub(crate) fn has(&self, inode: Inode) -> bool {
        let waits = |change: &Change| matches!(change, Change::Add(_, added) if *added == inode);
        self.seen.values().any(|found| *found == inode)
            || self.safe.values().any(|found| *found == inode)
            || self.changes.iter().any(waits)
    }

    pub(crate) fn sync(&mut self) {
        self.safe.clone_from(&self.seen);
        self.changes.clear();
    }

    /// What was not synced is lost. With `some`, the first changes of it survive: file systems write names in order.
    pub(crate) fn cut(&mut self, some: bool, chance: &mut StdRng) {
        let kept = if some {
            chance.random_range(0..=self.changes.len())
        } else {
            0
        };
        for change in &self.changes[..kept] {
            change.apply(&mut self.safe);
        }
        self.changes.clear();
        self.seen.clone_from(&self.safe);
    }
}
