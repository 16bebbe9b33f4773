//! Installing below a root and taking off again, on real files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::TempDir;

use super::places::RECORD;
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    install: InstallArgs,
}

/// Stands for `fieldgate manifests`, which has tests of its own: writes a generated file, and a configuration once.
struct Written;

impl Generate for Written {
    fn generate(&self, appliance: &Path, output: &Path, check: bool) -> Result<()> {
        assert!(appliance.is_file());
        if check {
            return Ok(());
        }
        fs::write(
            output.join("modbus-reader.yaml"),
            "# fieldgate-checksum: sha256:1\nkind: PersistentVolume\nspec: {local: {path: /var/lib/fieldgate/volumes/modbus-reader-state}}\n",
        )?;
        fs::create_dir_all(output.join(".fieldgate"))?;
        fs::write(
            output.join(".fieldgate/modbus-reader.yaml.base"),
            "kind: PersistentVolume\n",
        )?;
        let seed = output.join("modbus-reader-configuration.yaml");
        if !seed.exists() {
            fs::write(seed, "# yours\nkind: ConfigMap\n")?;
        }
        Ok(())
    }
}

struct Device {
    folder: TempDir,
    more: Vec<String>,
}

impl Device {
    fn new() -> Self {
        let device = Self {
            folder: tempfile::tempdir().unwrap(),
            more: Vec::new(),
        };
        device.bundle("1");
        device.put(
            "root/etc/fieldgate/appliance.yaml",
            "appliance: gate-7\nserial: [{name: line-1, path: /dev/ttyS0}]\nmodules: {modbus-reader: {}}\n",
        );
        // What the system and k3s have there of their own.
        device.put("root/var/lib/dpkg/status", "");
        device.put("root/k3s/server/manifests/coredns.yaml", "kind: Pod\n");
        device
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn bundle(&self, version: &str) {
        let _ = fs::remove_dir_all(self.folder.path().join("bundle"));
        for (path, text) in [
            (
                "k3s/config.yaml.d/10-fieldgate.yaml",
                "# why\ndisable: [traefik]\nnonroot-devices: true\nnode-label: [x=y]\n",
            ),
            ("k3s/kubelet.conf.d/10-fieldgate.conf", "b: 1\n"),
            ("k3s/registries.yaml", "mirrors: {}\n"),
            (
                "manifests/dapr-crds.yaml",
                "kind: CustomResourceDefinition\n",
            ),
            ("manifests/dapr.yaml", "kind: Deployment\n"),
            ("bin/arm64/fieldgate", "program"),
            ("bin/arm64/serial-device-plugin", "plugin"),
            (
                "systemd/fieldgate-serial-device-plugin.service",
                "[Service]\nExecStart=/usr/local/bin/serial-device-plugin\n",
            ),
        ] {
            self.put(&format!("bundle/{path}"), text);
        }
        self.put(
            &format!("bundle/images/arm64/fieldgate-modbus-reader-{version}-arm64.tar.zst"),
            version,
        );
    }

    fn places(&self) -> Places {
        Places::new(Some(&self.root()), Path::new("/k3s")).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn install(&self) -> Result<Vec<String>> {
        let bundle = self.folder.path().join("bundle");
        let root = self.root();
        let mut line = vec![
            "install".to_owned(),
            "--bundle".to_owned(),
            bundle.display().to_string(),
            "--root".to_owned(),
            root.display().to_string(),
            "--data-dir=/k3s".to_owned(),
            "--arch=arm64".to_owned(),
        ];
        line.extend(self.more.iter().cloned());
        let args = Line::parse_from(line).install;
        let appliance = self.places().here(Path::new(APPLIANCE));
        let mut told = Vec::new();
        files(&args, &self.places(), &appliance, &Written, &mut |line| {
            told.push(line.to_owned());
        })?;
        Ok(told)
    }

    fn uninstall(&self, purge: bool) -> Vec<String> {
        let mut told = Vec::new();
        let record = Record::load(&self.places()).unwrap();
        uninstall::files(&self.places(), record, purge, &mut |line| {
            told.push(line.to_owned());
        })
        .unwrap();
        told
    }

    /// Every file below the root, with its content.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    found.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else {
                    let content = fs::read(&path).unwrap_or_else(|_| b"link".to_vec());
                    found.insert(path, content);
                }
            }
        }
        found
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }
}

#[test]
fn a_second_installation_changes_nothing() {
    let device = Device::new();
    let told = device.install().unwrap();
    assert!(
        told.contains(&"wrote /k3s/server/manifests/dapr.yaml".to_owned()),
        "{told:?}"
    );
    for path in [
        "etc/rancher/k3s/config.yaml.d/10-fieldgate.yaml",
        "k3s/agent/etc/kubelet.conf.d/10-fieldgate.conf",
        "k3s/agent/images/fieldgate-modbus-reader-1-arm64.tar.zst",
        "k3s/agent/images/.cache.json",
        "usr/local/bin/serial-device-plugin",
        "etc/systemd/system/fieldgate-serial-device-plugin.service",
    ] {
        assert!(device.path(path).is_file(), "{path}");
    }
    assert!(
        device
            .path("var/lib/fieldgate/volumes/modbus-reader-state")
            .is_dir()
    );
    assert!(device.path("k3s/server/db").is_dir());
    let document =
        fs::read_to_string(device.path("etc/fieldgate/serial-device-plugin.yaml")).unwrap();
    assert!(document.contains("name: line-1"), "{document}");

    let first = device.tree();
    assert_eq!(device.install().unwrap(), Vec::<String>::new());
    assert_eq!(device.tree(), first);
}

#[test]
fn taking_off_leaves_what_was_there_before() {
    let device = Device::new();
    let before = device.tree();
    device.install().unwrap();
    device.uninstall(true);
    assert_eq!(device.tree(), before);
}

#[test]
fn encrypted_secrets_stay_readable_for_k3s() {
    let device = Device::new();
    let settings = "bundle/k3s/config.yaml.d/10-fieldgate.yaml";
    device.put(settings, "disable: [traefik]\nsecrets-encryption: true\n");
    device.install().unwrap();
    device.uninstall(true);
    let kept = device.path("etc/rancher/k3s/config.yaml.d/09-kept-by-fieldgate.yaml");
    let kept = fs::read_to_string(kept).unwrap();
    assert!(kept.ends_with("\nsecrets-encryption: true\n"), "{kept}");
}

#[test]
fn without_purge_a_persons_own_and_stored_events_stay_and_come_back() {
    let device = Device::new();
    let before = device.tree();
    device.install().unwrap();
    let manifests = "k3s/server/manifests";
    fs::write(
        device.path(&format!("{manifests}/modbus-reader-configuration.yaml")),
        "# mine\n",
    )
    .unwrap();
    fs::write(
        device.path(&format!("{manifests}/modbus-reader.yaml.override")),
        "# mine, too\n",
    )
    .unwrap();
    let stored = device.path("var/lib/fieldgate/volumes/modbus-reader-state/queue.db");
    fs::write(&stored, "events").unwrap();

    device.uninstall(false);
    assert!(stored.is_file());
    let left: Vec<_> = fs::read_dir(device.path(manifests))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["coredns.yaml"]);

    device.install().unwrap();
    for (name, text) in [
        ("modbus-reader-configuration.yaml", "# mine\n"),
        ("modbus-reader.yaml.override", "# mine, too\n"),
    ] {
        assert_eq!(
            fs::read_to_string(device.path(&format!("{manifests}/{name}"))).unwrap(),
            text
        );
    }
    assert!(!device.path("var/lib/fieldgate/kept-manifests").exists());

    // What came back is taken off again.
    device.uninstall(true);
    assert_eq!(device.tree(), before);
}

#[test]
fn a_foreign_file_is_refused_and_nothing_written() {
    let mut device = Device::new();
    device.put(
        "root/etc/rancher/k3s/registries.yaml",
        "mirrors: {theirs: {}}\n",
    );
    let before = device.tree();
    let error = device.install().unwrap_err().to_string();
    assert!(
        error.contains("/etc/rancher/k3s/registries.yaml") && error.contains("--keep"),
        "{error}"
    );
    assert_eq!(device.tree(), before);

    device.more = vec!["--keep=/etc/rancher/k3s/registries.yaml".to_owned()];
    device.install().unwrap();
    let kept = fs::read_to_string(device.path("etc/rancher/k3s/registries.yaml")).unwrap();
    assert_eq!(kept, "mirrors: {theirs: {}}\n");
    device.uninstall(true);
    assert_eq!(device.tree(), before);
}

#[test]
fn an_edited_file_is_refused_and_survives_taking_off() {
    let device = Device::new();
    device.install().unwrap();
    let path = "etc/rancher/k3s/config.yaml.d/10-fieldgate.yaml";
    fs::write(device.path(path), "edited\n").unwrap();
    let error = device.install().unwrap_err().to_string();
    assert!(error.contains(path), "{error}");
    let told = device.uninstall(true);
    assert!(
        told.contains(&format!("left /{path}: it was edited")),
        "{told:?}"
    );
    assert_eq!(fs::read_to_string(device.path(path)).unwrap(), "edited\n");
}

#[test]
fn a_dry_run_writes_nothing() {
    let mut device = Device::new();
    let before = device.tree();
    device.more = vec!["--dry-run".to_owned()];
    let told = device.install().unwrap();
    assert!(told.contains(&"would write /usr/local/bin/fieldgate".to_owned()));
    assert_eq!(device.tree(), before);
}

#[test]
fn an_update_replaces_archives_and_can_be_cut_off() {
    let device = Device::new();
    device.install().unwrap();
    device.bundle("2");
    let images = device.path("k3s/agent/images");
    // A power cut after the new record, before the files: what is there counts as ours.
    let told = device.install().unwrap();
    assert!(
        told.contains(
            &"removed /k3s/agent/images/fieldgate-modbus-reader-1-arm64.tar.zst".to_owned()
        ),
        "{told:?}"
    );
    let mut left: Vec<_> = fs::read_dir(&images)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [".cache.json", "fieldgate-modbus-reader-2-arm64.tar.zst"]
    );

    // The record of an installation that was cut off: new content announced, old content still there.
    let mut record = Record::load(&device.places()).unwrap();
    let path = PathBuf::from("/usr/local/bin/fieldgate");
    let installed = record.files.get_mut(&path).unwrap();
    installed.before = Some(std::mem::replace(
        &mut installed.content,
        "sha256:0".to_owned(),
    ));
    record.save(&device.places()).unwrap();
    device.install().unwrap();
    assert_eq!(
        Record::load(&device.places()).unwrap().files[&path].before,
        None
    );
}

#[test]
fn an_older_version_reads_and_keeps_what_a_newer_one_recorded() {
    let device = Device::new();
    device.install().unwrap();
    let file = device.places().here(Path::new(RECORD));
    let read = || {
        let text = fs::read_to_string(&file).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let mut newer = read();
    newer["schema"] = 2.into();
    newer["files"]["/usr/local/bin/fieldgate"]["owner"] = 7.into();
    fs::write(&file, newer.to_string()).unwrap();
    device.install().unwrap();
    assert_eq!(read(), newer);
}

#[test]
fn links_point_into_the_bundle() {
    let mut device = Device::new();
    device.more = vec!["--link-images".to_owned()];
    device.install().unwrap();
    let archive = device.path("k3s/agent/images/fieldgate-modbus-reader-1-arm64.tar.zst");
    let target = fs::read_link(archive).unwrap();
    assert!(target.is_file() && target.starts_with(device.folder.path().canonicalize().unwrap()));
}

#[test]
fn a_bundle_for_another_machine_says_so() {
    let device = Device::new();
    let bundle = Bundle::open(&device.folder.path().join("bundle"), Architecture::Amd64);
    let error = bundle.unwrap_err().to_string();
    assert!(
        error.contains("amd64") && error.contains("but for arm64"),
        "{error}"
    );
}

#[test]
fn a_damaged_bundle_is_refused() {
    let device = Device::new();
    let before = device.tree();
    device.put(
        "bundle/SHA256SUMS",
        "0000000000000000000000000000000000000000000000000000000000000000  ./manifests/dapr.yaml\n",
    );
    let error = device.install().unwrap_err().to_string();
    assert!(error.contains("manifests/dapr.yaml is damaged"), "{error}");
    assert_eq!(device.tree(), before);
}

#[test]
fn an_agent_gets_images_and_folders_and_no_manifests() {
    let mut device = Device::new();
    let before = device.tree();
    device.more = vec!["--agent".to_owned(), "--node=gate-8".to_owned()];
    device.install().unwrap();
    for path in [
        "k3s/agent/images/fieldgate-modbus-reader-1-arm64.tar.zst",
        "etc/rancher/k3s/config.yaml.d/10-fieldgate.yaml",
        "etc/fieldgate/serial-device-plugin.yaml",
        "var/lib/fieldgate/volumes/modbus-reader-state",
    ] {
        assert!(device.path(path).exists(), "{path}");
    }
    let settings =
        fs::read_to_string(device.path("etc/rancher/k3s/config.yaml.d/10-fieldgate.yaml"));
    let settings = settings.unwrap();
    assert!(
        settings.ends_with("\nnode-label:\n- x=y\nnonroot-devices: true\n"),
        "{settings}"
    );
    for path in [
        "k3s/server/manifests/dapr.yaml",
        "k3s/server/manifests/modbus-reader.yaml",
        "k3s/server/db",
        "var/lib/fieldgate/manifests",
    ] {
        assert!(!device.path(path).exists(), "{path}");
    }
    let told = device.install().unwrap();
    assert!(told.is_empty(), "{told:?}");

    let agent = std::mem::take(&mut device.more);
    let error = device.install().unwrap_err().to_string();
    assert!(error.contains("--agent is missing"), "{error}");
    device.more = agent;
    device.uninstall(true);
    assert_eq!(device.tree(), before);
}
