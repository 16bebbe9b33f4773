//! What was last taken over from the boot partition. Its document is there at every start, and counts when somebody puts or changes it: what a
//! person did later on another way is not undone by a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use module_runtime::configuration::sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::Disk;
use crate::load::Loaded;
use crate::places::{BOOT, BOOT_TAKEN, STATE, below};

/// The boot partition as the source of a document.
const SOURCE: &str = "the boot partition";

/// `boot.json` on the data partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    /// The document, below the boot partition.
    document: PathBuf,
    /// SHA-256 of the document and of what it names beside it, by name and after their secrets were taken; none of what was not there.
    files: BTreeMap<String, Option<String>>,
    /// Where another document came from that was applied since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    /// Of a newer version.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Taken {
    fn load(root: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(below(root, BOOT_TAKEN)) {
            // One that is damaged tells nothing, and the document counts once more.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, disk: &Disk, root: &Path) -> io::Result<()> {
        disk.folder(&below(root, STATE), 0o700)?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        disk.write(&below(root, BOOT_TAKEN), text.as_bytes(), 0o600)
    }
}

/// Where a document comes from, for people: the boot partition of the device whose tree is below `root`, or its path.
pub(crate) fn source_of(document: &Path, root: &Path) -> String {
    match on_boot(document, root) {
        Some(_) => SOURCE.to_owned(),
        None => document.display().to_string(),
    }
}

/// Of a document on the boot partition of the device whose tree is below `root`: where the document came from that replaced it, as long as
/// nobody has changed the one on the boot partition since. Of any other document, and of one that is in force, none.
///
/// # Errors
/// When the device's state or the document cannot be read.
pub fn superseded_by(document: &Path, root: &Path) -> io::Result<Option<String>> {
    let (Some(path), Some(taken)) = (on_boot(document, root), Taken::load(root)?) else {
        return Ok(None);
    };
    if taken.superseded_by.is_none() || taken.document != path {
        return Ok(None);
    }
    for (name, known) in &taken.files {
        if digest(&document.with_file_name(name))? != *known {
            return Ok(None);
        }
    }
    Ok(taken.superseded_by)
}

/// Before a document is applied: one of the boot partition that was replaced begins to count again.
pub(crate) fn begin(disk: &Disk, document: &Path, root: &Path) -> io::Result<()> {
    let was_superseded = Taken::load(root)?.is_some_and(|taken| taken.superseded_by.is_some());
    if was_superseded && on_boot(document, root).is_some() {
        disk.remove(&below(root, BOOT_TAKEN))?;
    }
    Ok(())
}

/// After a document was brought onto the device: from elsewhere, it replaces the one of the boot partition.
pub(crate) fn supersede(disk: &Disk, document: &Path, root: &Path, source: &str) -> io::Result<()> {
    if on_boot(document, root).is_some() {
        return Ok(());
    }
    match Taken::load(root)? {
        Some(taken) if taken.superseded_by.as_deref() != Some(source) => Taken {
            superseded_by: Some(source.to_owned()),
            ..taken
        }
        .save(disk, root),
        _ => Ok(()),
    }
}

/// After a document of the boot partition was taken over, and its secrets with it: how it is now.
pub(crate) fn keep(disk: &Disk, loaded: &Loaded, document: &Path, root: &Path) -> io::Result<()> {
    let Some(path) = on_boot(document, root) else {
        return Ok(());
    };
    let own = document.file_name().unwrap_or_default().to_string_lossy();
    let mut files = BTreeMap::new();
    for name in loaded.named_files().chain([own.into_owned()]) {
        let digest = digest(&document.with_file_name(&name))?;
        files.insert(name, digest);
    }
    let old = Taken::load(root)?;
    let now = Taken {
        document: path,
        files,
        superseded_by: None,
        other: old
            .as_ref()
            .map(|old| old.other.clone())
            .unwrap_or_default(),
    };
    if old.as_ref() == Some(&now) {
        return Ok(());
    }
    now.save(disk, root)
}

/// Where on the boot partition a document is; none of one that is elsewhere.
fn on_boot(document: &Path, root: &Path) -> Option<PathBuf> {
    let boot = fs::canonicalize(below(root, BOOT)).ok()?;
    let document = fs::canonicalize(document).ok()?;
    document.strip_prefix(boot).ok().map(Path::to_owned)
}

fn digest(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(sha256(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
