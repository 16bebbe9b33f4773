//! Files that are there whole or not at all, also after a power cut; every step to the disk can be made to fail in tests.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Every change of a file or folder goes through this.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// How many steps are left before everything fails.
    #[cfg(test)]
    left: Option<std::cell::Cell<usize>>,
}

impl Disk {
    /// One that takes so many steps and then fails for ever, as if the power were cut.
    #[cfg(test)]
    pub(crate) fn failing_after(steps: usize) -> Self {
        Self {
            left: Some(std::cell::Cell::new(steps)),
        }
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let Some(left) = &self.left else {
            return Ok(());
        };
        match left.get().checked_sub(1) {
            Some(fewer) => {
                left.set(fewer);
                Ok(())
            }
            None => Err(io::Error::other("the power is cut")),
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes a file with the mode, instead of one that is there.
    pub(crate) fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let temporary = temporary(path);
        self.clear(&temporary)?;
        self.step()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        // The umask does not decide.
        file.set_permissions(Permissions::from_mode(mode))?;
        self.step()?;
        file.write_all(content)?;
        self.step()?;
        file.sync_all()?;
        self.step()?;
        fs::rename(&temporary, path)?;
        self.sync_folder(path)
    }

    /// Removes what a write that was cut off left behind.
    pub(crate) fn clear_temporary(&self, path: &Path) -> io::Result<()> {
        self.clear(&temporary(path))
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.clear(path)?;
        match self.sync_folder(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        self.step()?;
        fs::remove_file(path)
    }

    /// Makes a folder, and those above it, where there is none.
    pub(crate) fn folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.folder(above, 0o755)?;
        }
        self.step()?;
        DirBuilder::new().mode(mode).create(path)?;
        self.sync_folder(path)
    }

    /// Writes over a part of a file in its place; its length stays.
    pub(crate) fn overwrite(&self, path: &Path, parts: &[(u64, &[u8])]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        for (start, bytes) in parts {
            self.step()?;
            file.seek(SeekFrom::Start(*start))?;
            file.write_all(bytes)?;
        }
        self.step()?;
        file.sync_all()
    }

    /// Removes what is no folder, without making it durable.
    pub(crate) fn unlink(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_file(path)
    }

    /// Removes an empty folder, without making it durable.
    pub(crate) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_dir(path)
    }

    /// Gives another name, without making it durable.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    /// Makes durable what was removed from a folder.
    pub(crate) fn sync(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        File::open(folder)?.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_mode_and_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let disk = Disk::default();
        disk.folder(path.parent().unwrap(), 0o700).unwrap();
        disk.write(&path, b"one", 0o644).unwrap();
        disk.write(&path, b"three", 0o600).unwrap();
        disk.overwrite(&path, &[(1, b"HR")]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"tHRee");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        disk.remove(&path).unwrap();
        disk.remove(&path).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_cut_off_write_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        Disk::default().write(&path, b"old", 0o600).unwrap();
        for steps in 0..4 {
            Disk::failing_after(steps)
                .write(&path, b"new", 0o600)
                .unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), b"old", "{steps}");
        }
        Disk::default().write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
