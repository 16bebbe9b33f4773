//! Documents for the tests of this crate.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::macros::datetime;

use crate::medium::FILE;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-28 06:00 UTC);
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub(crate) const HUB: &str = "HostName=plant.azure-devices.net;DeviceId=gate-7;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A document with a secret of every kind and form; `extra` are lines at its end.
pub(crate) fn full(extra: &str) -> String {
    format!(
        "\
# Hall 4. The old passphrase was: correct horse
name: gate-7
network:
  interfaces:
    - {{name: eth0, addresses: [192.168.1.20/24], gateway: 192.168.1.1}}
    - name: wlan0
      wifi:
        ssid: hall-4
        passphrase: 'correct horse'   # of the plant's network
  proxy: {{http: \"http://user:hunter2hunter2@proxy:3128\", no_proxy: [.plant.example]}}
time: {{servers: [ntp.plant.example], zone: Europe/Berlin}}
hub:
  connection_string: {HUB}
modules:
  modbus-reader:
    configuration:
      links: []   # none yet
  filter: {{image: x/filter:1, configuration: filter.yaml}}
{extra}"
    )
}

/// A medium and a device, both empty.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("medium")).unwrap();
        std::fs::create_dir(folder.path().join("device")).unwrap();
        let bench = Self { folder };
        std::fs::write(bench.medium().join("filter.yaml"), "limit: 3\n").unwrap();
        bench
    }

    pub(crate) fn medium(&self) -> PathBuf {
        self.folder.path().join("medium")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    pub(crate) fn document(&self) -> PathBuf {
        self.medium().join(FILE)
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.document(), text).unwrap();
    }

    pub(crate) fn on_device(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(crate::places::below(&self.root(), path)).ok()
    }

    /// Every file of the device with its mode and content, in which the medium is the same for every bench.
    pub(crate) fn tree(&self) -> Vec<(PathBuf, u32, String)> {
        let medium = self.medium().display().to_string();
        let mut tree = files(&self.root());
        for (.., content) in &mut tree {
            *content = content.replace(&medium, "/medium");
        }
        tree
    }
}

/// Every file and link below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, u32, String)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = metadata.permissions().mode() & 0o777;
            let content = if metadata.is_symlink() {
                format!("link to {}", path.read_link().unwrap().display())
            } else {
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
            };
            let name = path.strip_prefix(folder).unwrap().to_owned();
            found.push((name, mode, content));
        }
    }
    found.sort();
    found
}
