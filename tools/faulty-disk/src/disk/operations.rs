//! What programs do on the disk, as the file system asks for it.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::sync::MutexGuard;
use std::time::SystemTime;

use fuser::Errno;

use super::{Disk, State};
use crate::content::{Content, PAGE, SECTOR};
use crate::fault::Operation;
use crate::folder::Inode;

/// What the file system shows of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) inode: Inode,
    pub(crate) bytes: u64,
    pub(crate) changed: SystemTime,
}

impl Disk {
    pub(crate) fn find(&self, name: &OsStr) -> Result<Attributes, Errno> {
        let state = self.lock();
        state.powered()?;
        let inode = state.folder.find(name).ok_or(Errno::ENOENT)?;
        state.attributes(inode)
    }

    pub(crate) fn attributes(&self, inode: Inode) -> Result<Attributes, Errno> {
        let state = self.lock();
        state.powered()?;
        state.attributes(inode)
    }

    pub(crate) fn names(&self) -> Result<Vec<(OsString, Inode)>, Errno> {
        let state = self.lock();
        state.powered()?;
        let names = state.folder.names();
        Ok(names
            .map(|(name, inode)| (name.to_owned(), inode))
            .collect())
    }

    pub(crate) fn open(&self, inode: Inode, to_write: bool) -> Result<(), Errno> {
        let mut state = self.begin(Operation::Open, inode, 0..u64::MAX)?;
        if to_write && state.faults.read_only {
            return Err(Errno::EROFS);
        }
        state.file(inode)?.opens += 1;
        Ok(())
    }

    pub(crate) fn close(&self, inode: Inode) {
        let mut state = self.lock();
        if let Some(file) = state.files.get_mut(&inode) {
            file.opens = file.opens.saturating_sub(1);
        }
        state.purge();
    }

    pub(crate) fn create(&self, name: &OsStr) -> Result<Attributes, Errno> {
        let mut state = self.begin_named(Operation::Create, name)?;
        if state.folder.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = state.add_file(Content::default());
        state.folder.add(name, inode);
        state.file(inode)?.opens = 1;
        state.attributes(inode)
    }

    pub(crate) fn read(&self, inode: Inode, from: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let end = from.saturating_add(count.into());
        let mut state = self.begin(Operation::Read, inode, from..end)?;
        let file = state.file(inode)?;
        let sector = SECTOR as u64;
        if file
            .lost
            .range(from / sector..end.div_ceil(sector))
            .next()
            .is_some()
        {
            return Err(Errno::EIO);
        }
        let from = usize::try_from(from).map_err(|_| Errno::EINVAL)?;
        Ok(file.content.read(from, count as usize).to_vec())
    }

    pub(crate) fn write(&self, inode: Inode, from: u64, bytes: &[u8]) -> Result<(), Errno> {
        let end = from.checked_add(bytes.len() as u64).ok_or(Errno::EFBIG)?;
        let mut state = self.begin(Operation::Write, inode, from..end)?;
        state.room_for(inode, end)?;
        let file = state.file(inode)?;
        // The disk puts a spare one in the place of a sector that is written whole.
        let whole = from.div_ceil(SECTOR as u64)..end / SECTOR as u64;
        file.lost.retain(|sector| !whole.contains(sector));
        let from = usize::try_from(from).map_err(|_| Errno::EFBIG)?;
        file.content.write(from, bytes);
        file.changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn set_len(&self, inode: Inode, length: u64) -> Result<(), Errno> {
        let mut state = self.begin(Operation::Truncate, inode, 0..u64::MAX)?;
        state.room_for(inode, length)?;
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        let file = state.file(inode)?;
        file.content.set_len(length);
        file.changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn sync(&self, inode: Inode, data_only: bool) -> Result<(), Errno> {
        self.take_time();
        match self.begin(Operation::Sync, inode, 0..u64::MAX) {
            Ok(mut state) => {
                state.file(inode)?.content.sync();
                state.syncs += 1;
                state.whole_syncs += u64::from(!data_only);
                Ok(())
            }
            Err(error) => {
                let mut state = self.lock();
                if state.on
                    && let Ok(file) = state.file(inode)
                {
                    file.content.fail_sync();
                }
                Err(error)
            }
        }
    }

    pub(crate) fn sync_folder(&self) -> Result<(), Errno> {
        self.take_time();
        let mut state = self.begin_named(Operation::SyncFolder, OsStr::new(""))?;
        state.folder.sync();
        state.syncs += 1;
        state.purge();
        Ok(())
    }

    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> Result<(), Errno> {
        let mut state = self.begin_named(Operation::Rename, from)?;
        if state.folder.find(from).is_none() {
            return Err(Errno::ENOENT);
        }
        if !replace && state.folder.find(to).is_some() {
            return Err(Errno::EEXIST);
        }
        state.folder.rename(from, to);
        state.purge();
        Ok(())
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> Result<(), Errno> {
        let mut state = self.begin_named(Operation::Unlink, name)?;
        if state.folder.find(name).is_none() {
            return Err(Errno::ENOENT);
        }
        state.folder.remove(name);
        state.purge();
        Ok(())
    }

    /// Free and all pages, for programs that ask before they write.
    pub(crate) fn pages(&self) -> (u64, u64) {
        let state = self.lock();
        let all = state.faults.capacity.unwrap_or(1 << 40) / PAGE as u64;
        (all.saturating_sub(state.used() / PAGE as u64), all)
    }

    fn begin(
        &self,
        operation: Operation,
        inode: Inode,
        bytes: Range<u64>,
    ) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.lock();
        let name = state.folder.name_of(inode).map(OsStr::to_owned);
        self.admit(&mut state, operation, &name.unwrap_or_default(), bytes)?;
        Ok(state)
    }

    fn begin_named(
        &self,
        operation: Operation,
        name: &OsStr,
    ) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.lock();
        self.admit(&mut state, operation, name, 0..u64::MAX)?;
        Ok(state)
    }

    fn admit(
        &self,
        state: &mut State,
        operation: Operation,
        name: &OsStr,
        bytes: Range<u64>,
    ) -> Result<(), Errno> {
        state.powered()?;
        if operation.changes()
            && let Some(left) = &mut state.countdown
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.on = false;
                self.power.notify_all();
                return Err(Errno::EIO);
            }
        }
        let syncs = matches!(operation, Operation::Sync | Operation::SyncFolder);
        if state.faults.read_only && operation.changes() && !syncs {
            return Err(Errno::EROFS);
        }
        let name = name.to_string_lossy();
        let mut failing = state.faults.failing.iter_mut();
        if failing.any(|failing| failing.hits(operation, &name, &bytes)) {
            return Err(Errno::EIO);
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a slow disk: the thread that serves the kernel is the disk, and nothing else runs on it"
    )]
    fn take_time(&self) {
        let time = self.lock().faults.sync_takes;
        if !time.is_zero() {
            std::thread::sleep(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::disk::{Image, Survival};

    #[test]
    fn a_name_survives_only_with_its_folder() {
        let disk = Disk::new();
        let chance = &mut StdRng::seed_from_u64(1);
        let file = disk.create(OsStr::new("a")).unwrap().inode;
        disk.write(file, 0, b"text").unwrap();
        disk.sync(file, true).unwrap();
        disk.cut();
        assert_eq!(disk.sync(file, true).unwrap_err(), Errno::EIO);
        disk.power_up(Survival::Nothing, chance);
        assert_eq!(disk.image(), Image::new());

        let file = disk.create(OsStr::new("a")).unwrap().inode;
        disk.write(file, 0, b"text").unwrap();
        disk.sync(file, true).unwrap();
        disk.sync_folder().unwrap();
        disk.rename(OsStr::new("a"), OsStr::new("b"), true).unwrap();
        disk.cut();
        disk.power_up(Survival::Nothing, chance);
        assert_eq!(disk.bytes("a").as_deref(), Some(b"text".as_slice()));
        assert_eq!(disk.bytes("b"), None);
    }

    #[test]
    fn a_file_that_is_open_outlives_its_name() {
        let disk = Disk::new();
        let file = disk.create(OsStr::new("a")).unwrap().inode;
        disk.write(file, 0, b"text").unwrap();
        disk.unlink(OsStr::new("a")).unwrap();
        disk.sync_folder().unwrap();
        assert_eq!(disk.read(file, 0, 10).unwrap(), b"text");
        disk.close(file);
        assert_eq!(disk.read(file, 0, 10).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn the_power_fails_at_the_change_that_was_named() {
        let disk = Disk::new();
        disk.cut_after(3);
        let file = disk.create(OsStr::new("a")).unwrap().inode;
        disk.write(file, 0, b"1").unwrap();
        disk.read(file, 0, 1).unwrap();
        assert!(!disk.wait_for_cut(Duration::ZERO));
        assert_eq!(disk.write(file, 1, b"2").unwrap_err(), Errno::EIO);
        assert!(disk.wait_for_cut(Duration::ZERO));
        assert_eq!(disk.read(file, 0, 1).unwrap_err(), Errno::EIO);
    }

    #[test]
    fn a_full_disk_takes_what_needs_no_room() {
        let disk = Disk::new();
        let file = disk.create(OsStr::new("a")).unwrap().inode;
        disk.write(file, 0, &[1; 100]).unwrap();
        disk.set_faults(|faults| faults.capacity = Some(2 * PAGE as u64));
        disk.write(file, 0, &[2; 2 * PAGE]).unwrap();
        assert_eq!(
            disk.write(file, 2 * PAGE as u64, b"x").unwrap_err(),
            Errno::ENOSPC
        );
        disk.write(file, 50, b"x").unwrap();
        assert_eq!(disk.pages(), (0, 2));
        disk.set_len(file, 10).unwrap();
        disk.write(file, PAGE as u64, b"x").unwrap();
    }
}
