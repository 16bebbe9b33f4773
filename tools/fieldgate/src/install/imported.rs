//! What k3s takes for imported.
//!
//! k3s 1.34 imports an archive again only when its size is another one **and** its time a later one (pkg/agent/containerd/watcher.go). An older system
//! that is back after an update has older archives under the same names, and one that was made anew may have the same size.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::places::Places;
use crate::whole_file;

#[derive(Debug, Serialize, Deserialize)]
struct Imported {
    size: u64,
    #[serde(rename = "modTime", with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Takes off k3s's list what is not the archive that it has imported. Before k3s starts: one that runs keeps its list in memory.
pub(super) fn forget_changed(places: &Places, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let list = places.here(&places.image_cache());
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", list.display()));
        }
    };
    // As it is made by an installation.
    if text.is_empty() {
        return Ok(());
    }
    let Ok(mut imported) = serde_json::from_str::<BTreeMap<PathBuf, Imported>>(&text) else {
        tell(&format!(
            "emptied {}, which cannot be read: k3s imports everything again",
            list.display()
        ));
        return whole_file::write(&list, &[], 0o600);
    };
    let before = imported.len();
    imported.retain(|path, known| {
        let same = is_same(&places.here(path), known);
        if !same {
            tell(&format!("{} is imported again", path.display()));
        }
        same
    });
    if imported.len() == before {
        return Ok(());
    }
    whole_file::write(&list, &serde_json::to_vec(&imported)?, 0o600)
}

/// What is not there, k3s takes off its list by itself.
fn is_same(path: &Path, known: &Imported) -> bool {
    fs::metadata(path).map_or(true, |file| {
        file.len() == known.size && file.mtime() == known.time.unix_timestamp()
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 2026-01-01T00:00:00Z
    const THEN: u64 = 1_767_225_600;
    const TIME: &str = "2026-01-01T00:00:00Z";

    const LIST: &str = ".cache.json";

    struct Device {
        folder: tempfile::TempDir,
    }

    impl Device {
        fn new(list: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("k3s/agent/images")).unwrap();
            fs::write(folder.path().join("k3s/agent/images").join(LIST), list).unwrap();
            Self { folder }
        }

        fn archive(&self, name: &str, size: u64, time: u64) {
            let path = self.folder.path().join("k3s/agent/images").join(name);
            let file = File::create(path).unwrap();
            file.set_len(size).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(time))
                .unwrap();
        }

        /// The list afterwards, and what was said.
        fn forget(&self) -> (Option<Value>, Vec<String>) {
            let places = Places::new(Some(self.folder.path()), Path::new("/k3s")).unwrap();
            let mut said = Vec::new();
            forget_changed(&places, &mut |line| said.push(line.to_owned())).unwrap();
            let list = fs::read(self.folder.path().join("k3s/agent/images").join(LIST));
            (serde_json::from_slice(&list.unwrap()).ok(), said)
        }
    }

    #[test]
    fn what_is_not_the_imported_archive_is_taken_off() {
        let entry = format!(r#"{{"size": 7, "modTime": "{TIME}", "more": true}}"#);
        let names = ["same", "older", "grown", "gone"];
        let entries = names.map(|name| format!(r#""/k3s/agent/images/{name}.tar": {entry}"#));
        let device = Device::new(&format!("{{{}}}", entries.join(",")));
        device.archive("same.tar", 7, THEN);
        device.archive("older.tar", 7, THEN - 1);
        device.archive("grown.tar", 8, THEN);
        let (list, said) = device.forget();
        let list = list.unwrap();
        let left: Vec<_> = list.as_object().unwrap().keys().collect();
        assert_eq!(
            left,
            ["/k3s/agent/images/gone.tar", "/k3s/agent/images/same.tar"]
        );
        assert_eq!(
            list["/k3s/agent/images/same.tar"],
            serde_json::from_str::<Value>(&entry).unwrap(),
            "as k3s wrote it"
        );
        assert_eq!(said.len(), 2);
        assert!(device.forget().1.is_empty(), "once");
    }

    #[test]
    fn a_list_that_cannot_be_read_is_begun_anew() {
        let device = Device::new("{");
        assert_eq!(device.forget().0, None);
        assert_eq!(device.forget(), (None, Vec::new()));
    }
}
