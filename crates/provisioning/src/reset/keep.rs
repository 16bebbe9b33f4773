//! Which files outlive a factory reset.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::ResetError;
use crate::document::Part;
use crate::places::{self, below};
use crate::plan::part_of;

/// When the device last ran, in its date alone (systemd-timesyncd.service(8)): without it, and without a clock of its own, the device would
/// make certificates of the image's time.
const CLOCK: &str = "/data/systemd/timesync/clock";

/// Where files may be that outlive a reset.
const FOLDERS: [&str; 8] = [
    "/data/etc",
    places::NETWORK,
    "/data/etc/timesyncd.conf.d",
    places::SSH,
    places::APPLIANCE,
    places::STATE,
    places::SECRETS,
    "/data/systemd/timesync",
];

/// The files of the device below `root` that outlive a factory reset with this preserve list. Paths are the device's.
///
/// # Errors
/// When a folder cannot be read.
pub fn kept_files(root: &Path, preserve: &[Part]) -> Result<Vec<PathBuf>, ResetError> {
    let mut kept = BTreeSet::new();
    for folder in FOLDERS {
        let names = files(&below(root, folder)).map_err(|source| ResetError::Disk {
            path: below(root, folder),
            source,
        })?;
        kept.extend(
            names
                .into_iter()
                .map(|name| Path::new(folder).join(name))
                .filter(|path| is_kept(path, preserve)),
        );
    }
    Ok(kept.into_iter().collect())
}

fn is_kept(path: &Path, preserve: &[Part]) -> bool {
    if path == Path::new(CLOCK) {
        return true;
    }
    // The next reset, by the button for example, is as this one.
    if path == Path::new(places::PRESERVE) {
        return !preserve.is_empty();
    }
    let part = part_of(path).or_else(|| goes_with(path));
    part.is_some_and(|part| preserve.contains(&part))
}

/// What the device made by itself, and would not be reached as before without.
fn goes_with(path: &Path) -> Option<Part> {
    // DHCP servers know the device by an identifier that networkd makes of it (networkd.conf(5), DUIDType=).
    if path == Path::new(places::MACHINE_ID) {
        return Some(Part::Network);
    }
    let is_host_key = path.parent() == Some(Path::new(places::SSH))
        && path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_"));
    is_host_key.then_some(Part::Ssh)
}

/// The names of the regular files in a folder; a folder that is not there has none.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        // None of ours has a name that is no text.
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
