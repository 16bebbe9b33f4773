//! Looks for bundles on media.

use std::fs;
use std::path::{Path, PathBuf};

use semver::Version;

use super::error::UpdateError;
use super::rauc::Rauc;

/// A medium with more bundles is not meant.
const MOST: usize = 32;

/// The newest bundle for this device in the folders or right below them; signatures are checked.
pub(crate) async fn newest(
    folders: &[PathBuf],
    rauc: &Rauc,
    compatible: &str,
) -> Result<PathBuf, UpdateError> {
    let mut best: Option<(Version, PathBuf)> = None;
    let mut refused = Vec::new();
    for path in bundles(folders) {
        match rauc.info(&path).await {
            Ok(info) if info.compatible == compatible => {
                let newer = best
                    .as_ref()
                    .is_none_or(|(version, _)| info.version > *version);
                if newer {
                    best = Some((info.version, path));
                }
            }
            Ok(info) => refused.push(format!("{} is for {}", path.display(), info.compatible)),
            Err(error) => refused.push(error.to_string()),
        }
    }
    let places: Vec<String> = folders
        .iter()
        .map(|one| one.display().to_string())
        .collect();
    best.map(|(_, path)| path)
        .ok_or_else(|| UpdateError::NothingFound {
            places: places.join(", "),
            refused,
        })
}

fn bundles(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = list(folder);
        found.extend(entries.iter().filter(|path| is_bundle(path)).cloned());
        for below in entries.iter().filter(|path| path.is_dir()) {
            found.extend(list(below).into_iter().filter(|path| is_bundle(path)));
        }
    }
    found.truncate(MOST);
    found
}

fn is_bundle(path: &Path) -> bool {
    // What macOS leaves beside a file on a stick is none.
    let hidden = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|end| end == "raucb") && path.is_file()
}

/// Sorted, so that two looks find the same. A folder that cannot be read has nothing.
fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_found_in_a_folder_and_right_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("stick/deep")).unwrap();
        for name in [
            "a.raucb",
            "._a.raucb",
            "b.txt",
            "stick/c.raucb",
            "stick/deep/d.raucb",
        ] {
            fs::write(path(name), "").unwrap();
        }
        let found = bundles(&[folder.path().to_owned(), "/nowhere".into()]);
        assert_eq!(found, [path("a.raucb"), path("stick/c.raucb")]);
    }
}
