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
    File::open(folder_of(path))?.sync_all()
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

/// What was set aside, oldest first, with its time: `PATH.damaged-UNIXTIME`.
pub(crate) fn damaged_files(path: &Path) -> Vec<(u64, PathBuf)> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(folder_of(path)) else {
        return Vec::new();
    };
    let time = |file: &Path| {
        let found = file
            .file_name()?
            .to_str()?
            .strip_prefix(name)?
            .strip_prefix(".damaged-")?;
        found.parse::<u64>().ok()
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((time(&entry.path())?, entry.path())))
        .collect();
    found.sort();
    found
}

/// The name that a damaged database gets: later than all others, even if the clock went back.
pub(crate) fn damaged_name(path: &Path, now_micros: i64) -> PathBuf {
    let now = u64::try_from(now_micros / 1_000_000).unwrap_or_default();
    let newest = damaged_files(path)
        .pop()
        .map_or(0, |(time, _)| time.saturating_add(1));
    beside(path, &format!(".damaged-{}", now.max(newest)))
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
