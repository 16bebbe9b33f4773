//! What no image of ours may be.

use oci_image::{Entry, EntryKind, StoredImage};

const SETUID_SETGID: u32 = 0o6000;
const WORLD_WRITABLE: u32 = 0o002;
const EXECUTABLE_FOR_ALL: u32 = 0o111;

/// Everything that is wrong with an image, one sentence each; empty when it may go onto a device.
pub(crate) fn findings(image: &StoredImage) -> Vec<String> {
    let mut found: Vec<String> = image.entries.iter().flat_map(entry_findings).collect();
    if !is_ordinary_user(&image.settings.user) {
        found.push(format!(
            "runs as user '{}': give a numeric uid:gid other than 0",
            image.settings.user
        ));
    }
    if let Some(program) = image.settings.entrypoint.first()
        && !is_program(program, &image.entries)
    {
        found.push(format!(
            "entrypoint {program} is not a file that everybody may execute"
        ));
    }
    let mut paths: Vec<_> = image.entries.iter().map(|entry| &entry.path).collect();
    paths.sort();
    let twice = paths.windows(2).filter(|pair| pair.first() == pair.last());
    found.extend(
        twice
            .filter_map(|pair| pair.first())
            .map(|path| format!("{path} is there twice")),
    );
    found
}

fn entry_findings(entry: &Entry) -> Vec<String> {
    let path = &entry.path;
    let mut found = Vec::new();
    if matches!(entry.kind, EntryKind::Special) {
        found.push(format!(
            "{path} is a device or something else that is no file, directory or link"
        ));
    }
    if matches!(entry.kind, EntryKind::Symlink { .. }) {
        return found; // the mode of a symbolic link means nothing
    }
    if entry.mode & SETUID_SETGID != 0 {
        found.push(format!(
            "{path} is setuid or setgid (mode {:04o})",
            entry.mode
        ));
    }
    if entry.mode & WORLD_WRITABLE != 0 {
        found.push(format!(
            "{path} can be written by everybody (mode {:04o})",
            entry.mode
        ));
    }
    if (entry.uid, entry.gid) != (0, 0) {
        found.push(format!(
            "{path} belongs to {}:{}, not to root",
            entry.uid, entry.gid
        ));
    }
    found
}

fn is_ordinary_user(user: &str) -> bool {
    let (uid, gid) = user.split_once(':').unwrap_or((user, "1"));
    [uid, gid]
        .iter()
        .all(|id| id.parse::<u32>().is_ok_and(|id| id != 0))
}

fn is_program(path: &str, entries: &[Entry]) -> bool {
    let is_file = |entry: &Entry| {
        matches!(
            entry.kind,
            EntryKind::File { .. } | EntryKind::HardLink { .. }
        )
    };
    let runs = |entry: &Entry| entry.mode & EXECUTABLE_FOR_ALL == EXECUTABLE_FOR_ALL;
    entries
        .iter()
        .any(|entry| entry.path == path && is_file(entry) && runs(entry))
}
