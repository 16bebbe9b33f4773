//! The files beside the queue: renaming and deleting that survives a power cut.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::lock::beside;

/// The log of a database.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// Makes renames and new names in the folder of a file durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Deletes a database and its log, if they are there.
pub(crate) fn remove_database(path: &Path) -> std::io::Result<()> {
    for file in [path, &log_of(path), &beside(path, "-journal")] {
        not_found_is_fine(std::fs::remove_file(file))?;
    }
    Ok(())
}

/// Renames a database and its log, whichever are there.
pub(crate) fn rename_database(from: &Path, to: &Path) -> std::io::Result<()> {
    not_found_is_fine(std::fs::rename(log_of(from), log_of(to)))?;
    not_found_is_fine(std::fs::rename(from, to))?;
    sync_folder_of(to)
}

fn not_found_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Names of what was set aside, oldest first: `PATH.damaged-UNIXTIME`.
pub(crate) fn damaged_files(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let time = |file: &Path| {
        let found = file.file_name()?.to_str()?.strip_prefix(name.to_str()?)?.strip_prefix(".damaged-")?;
        found.parse::<u64>().ok()
    };
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| Some((time(&entry.path())?, entry.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, file)| file).collect()
}

/// The name that the damaged database gets: one that is not taken.
pub(crate) fn damaged_name(path: &Path, now_micros: i64) -> PathBuf {
    let newest = damaged_files(path).pop();
    let mut time = u64::try_from(now_micros / 1_000_000).unwrap_or_default();
    let mut name = beside(path, &format!(".damaged-{time}"));
    // The clock may have gone back: the newest must also be the last by name.
    while newest.as_ref().is_some_and(|newest| !later(&name, newest)) || name.exists() {
        time += 1;
        name = beside(path, &format!(".damaged-{time}"));
    }
    name
}

fn later(name: &Path, than: &Path) -> bool {
    let time = |file: &Path| file.to_string_lossy().rsplit('-').next().and_then(|time| time.parse::<u64>().ok());
    time(name) > time(than)
}
