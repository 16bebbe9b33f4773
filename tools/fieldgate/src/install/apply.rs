//! Does what a plan says, with the record always ahead of the files.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, chown, geteuid};

use super::item::{State, content_of};
use super::places::Places;
use super::plan::Plan;
use super::record::{Installed, Record};
use crate::whole_file;

/// User and group of every module and of the broker.
const MODULE_USER: u32 = 65532;

/// Brings the files to what the plan says and tells each change. The record is written before, with both contents of a file that
/// changes, and after: an installation that was cut off can be repeated.
pub(crate) fn apply(
    places: &Places,
    plan: &Plan,
    record: &mut Record,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    for (path, mode) in &plan.directories {
        directory(places, path, *mode, record)?;
    }
    for step in &plan.steps {
        let before = match step.state {
            State::Outdated => content_of(&places.here(&step.item.path))?,
            _ => None,
        };
        let known = record.files.get(&step.item.path);
        let installed = Installed {
            content: step.content.clone(),
            before,
            other: known.map(|known| known.other.clone()).unwrap_or_default(),
        };
        if let Some(folder) = step.item.path.parent() {
            directory(places, folder, 0o755, record)?;
        }
        record.files.insert(step.item.path.clone(), installed);
    }
    record.version = env!("CARGO_PKG_VERSION").to_owned();
    record.save(places)?;

    for step in &plan.steps {
        if step.state != State::Same || step.item.mode_differs(places) {
            step.item.put(places)?;
            tell(&format!("wrote {}", step.item.path.display()));
        }
    }
    for path in &plan.superseded {
        if remove(places, path, record)? {
            tell(&format!("removed {}", path.display()));
        }
        record.files.remove(path);
    }
    let cache = places.image_cache();
    if !places.here(&cache).exists() {
        whole_file::write(&places.here(&cache), b"", 0o600)?;
        tell(&format!("wrote {}", cache.display()));
    }
    for installed in record.files.values_mut() {
        installed.before = None;
    }
    record.save(places)
}

/// Makes a folder and those above it; the record learns which are new.
pub(crate) fn directory(
    places: &Places,
    path: &Path,
    mode: u32,
    record: &mut Record,
) -> Result<bool> {
    let here = places.here(path);
    if here.is_dir() {
        return Ok(false);
    }
    if let Some(above) = path.parent() {
        directory(places, above, 0o755, record)?;
    }
    match DirBuilder::new().mode(mode).create(&here) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && here.is_dir() => {
            return Ok(false);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("making the folder {}", here.display()));
        }
    }
    fs::set_permissions(&here, Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", here.display()))?;
    record.directories.insert(path.to_owned());
    Ok(true)
}

/// The folder of a volume: only the module's user reads it. Without root's rights the owner stays as it is.
pub(crate) fn volume(places: &Places, path: &Path, record: &mut Record) -> Result<bool> {
    let new = directory(places, path, 0o750, record)?;
    if new && geteuid().is_root() {
        let here = places.here(path);
        chown(
            &here,
            Some(Uid::from_raw(MODULE_USER)),
            Some(Gid::from_raw(MODULE_USER)),
        )
        .with_context(|| format!("giving {} to user {MODULE_USER}", here.display()))?;
    }
    Ok(new)
}

/// Takes a file of ours away; one that was edited stays. Tells whether it is gone by this call.
pub(crate) fn remove(places: &Places, path: &Path, record: &Record) -> Result<bool> {
    let here = places.here(path);
    match content_of(&here)? {
        Some(found) if record.knows(path, &found) => {
            fs::remove_file(&here).with_context(|| format!("removing {}", here.display()))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
