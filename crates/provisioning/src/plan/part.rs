//! To which part of a document a planned file belongs: what a factory reset preserves together.

use std::path::Path;

use crate::document::Part;
use crate::places;
use crate::secrets::HUB;

/// The part by whose word a file outlives a factory reset. `path` is the device's. Files beside ours that nobody plans have none, except
/// modules' documents: a description that was edited on the device names documents of its own.
pub(crate) fn part_of(path: &Path) -> Option<Part> {
    for (place, part) in [
        (places::HOSTNAME, Part::Name),
        (places::PROXY, Part::Network),
        (places::TIMESYNCD, Part::Network),
        (places::TIME_ZONE, Part::Network),
        (places::AUTHORIZED_KEYS, Part::Ssh),
    ] {
        if path == Path::new(place) {
            return Some(part);
        }
    }
    let name = path.file_name()?.to_str()?;
    // What a write that was cut off left.
    if name.starts_with('.') {
        return None;
    }
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let part = match path.parent()?.to_str()? {
        places::NETWORK if starts(&["10-fieldgate-", "wpa_supplicant-"]) => Part::Network,
        places::SECRETS if name == HUB => Part::Hub,
        places::SECRETS if starts(&["wifi-", "proxy-"]) => Part::Network,
        places::APPLIANCE => Part::Modules,
        _ => return None,
    };
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_documents::full;

    #[test]
    fn every_planned_file_but_the_preserve_list_has_a_part() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("filter.yaml"), "limit: 3\n").unwrap();
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS a@b";
        let text = full(&format!(
            "ssh: [\"{key}\"]\nfactory_reset: {{preserve: [name]}}\n"
        ));
        let loaded = crate::load_text("x", &text, folder.path(), None).unwrap();
        let files = crate::plan(&loaded);
        assert!(files.len() > 12, "{files:?}");
        for file in &files {
            let is_list = file.path == Path::new(places::PRESERVE);
            assert_eq!(part_of(&file.path).is_none(), is_list, "{file:?}");
        }
        for part in Part::ALL {
            assert!(files.iter().any(|file| part_of(&file.path) == Some(part)));
        }
    }

    #[test]
    fn others_files_have_none() {
        for path in [
            "/data/etc/network/20-own.network",
            "/data/etc/network/.10-fieldgate-eth0.network.new",
            "/data/etc/fieldgate/firewall.d/10-plant.nft",
            "/data/etc/machine-id",
            "/data/fieldgate/provision/record.json",
        ] {
            assert_eq!(part_of(Path::new(path)), None, "{path}");
        }
    }
}
