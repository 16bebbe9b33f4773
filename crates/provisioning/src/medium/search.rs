//! Looks for the document on mounted media.

use std::fs;
use std::path::{Path, PathBuf};

/// The document's name on a medium.
pub const FILE: &str = "fieldgate-provision.yaml";

/// The first document in one of the folders, or in a folder right below one of them (where media are mounted by name), in the order of the
/// alphabet. A folder that is not there has none.
pub fn search(folders: &[impl AsRef<Path>]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let folder = folder.as_ref();
        let mut below: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        below.sort();
        std::iter::once(folder.to_owned())
            .chain(below)
            .map(|folder| folder.join(FILE))
            .find(|file| file.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let of = |path: &str| root.path().join(path);
        let folders = [of("absent"), of("boot"), of("media")];
        for folder in ["boot", "media/b", "media/a"] {
            fs::create_dir_all(of(folder)).unwrap();
        }
        assert_eq!(search(&folders), None);
        for (folder, first) in [
            ("media/b", "media/b"),
            ("media/a", "media/a"),
            ("boot", "boot"),
        ] {
            fs::write(of(folder).join(FILE), "").unwrap();
            assert_eq!(search(&folders), Some(of(first).join(FILE)));
        }
    }
}
