//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a file with the mode, instead of one that is there.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace(path, |temporary| {
        let mut file = create(temporary, mode)?;
        file.write_all(content)?;
        file.sync_all()
    })
}

/// Copies a file, instead of one that is there.
pub(crate) fn copy(from: &Path, path: &Path, mode: u32) -> Result<()> {
    let mut source = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    replace(path, |temporary| {
        let mut file = create(temporary, mode)?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()
    })
}

/// Makes a symbolic link, instead of what is there.
pub(crate) fn link(target: &Path, path: &Path) -> Result<()> {
    replace(path, |temporary| symlink(target, temporary))
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The umask does not decide.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

fn replace(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = temporary(path);
    // Left behind by a run that was cut off.
    let _ = fs::remove_file(&temporary);
    fill(&temporary)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("writing {}", path.display()))
}

/// A name that k3s does not read: it takes files of the manifests and images folders by their extension.
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
        let path = folder.path().join("a.yaml");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o755
        );
        link(Path::new("/elsewhere"), &path).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/elsewhere"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
