//! Where things are on a device, and where that is below `--root`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Folders of the device that do not depend on k3s.
pub(crate) const STATE: &str = "/var/lib/fieldgate";
/// The volumes of modules and broker.
pub(crate) const VOLUMES: &str = "/var/lib/fieldgate/volumes";
/// What was a person's own in the manifests folder when Fieldgate was taken off.
pub(crate) const KEPT: &str = "/var/lib/fieldgate/kept-manifests";
pub(crate) const RECORD: &str = "/var/lib/fieldgate/install.json";
pub(crate) const APPLIANCE: &str = "/etc/fieldgate/appliance.yaml";
pub(crate) const PLUGIN_DOCUMENT: &str = "/etc/fieldgate/serial-device-plugin.yaml";
pub(crate) const PLUGIN_UNIT: &str = "fieldgate-serial-device-plugin.service";

/// The device's file system: all paths that this part passes around are those of the device.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    root: PathBuf,
    data_dir: PathBuf,
}

impl Places {
    pub(crate) fn new(root: Option<&Path>, data_dir: &Path) -> Result<Self> {
        if !data_dir.is_absolute() {
            bail!(
                "--data-dir {}: give the absolute path that k3s has on the device",
                data_dir.display()
            );
        }
        Ok(Self {
            root: root.unwrap_or(Path::new("/")).to_owned(),
            data_dir: data_dir.to_owned(),
        })
    }

    /// Where a path of the device is for this process.
    pub(crate) fn here(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn k3s_config(&self) -> PathBuf {
        PathBuf::from("/etc/rancher/k3s/config.yaml.d/10-fieldgate.yaml")
    }

    /// What k3s still needs when the settings are taken off.
    pub(crate) fn k3s_kept(&self) -> PathBuf {
        PathBuf::from("/etc/rancher/k3s/config.yaml.d/09-kept-by-fieldgate.yaml")
    }

    pub(crate) fn registries(&self) -> PathBuf {
        PathBuf::from("/etc/rancher/k3s/registries.yaml")
    }

    pub(crate) fn kubelet_config(&self) -> PathBuf {
        self.data_dir
            .join("agent/etc/kubelet.conf.d/10-fieldgate.conf")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data_dir.join("agent/images")
    }

    /// While this file exists, k3s imports only archives that changed, not all at every start.
    pub(crate) fn image_cache(&self) -> PathBuf {
        self.images().join(".cache.json")
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.data_dir.join("server/manifests")
    }

    /// SQLite's folder: kine makes it only for its own default path.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("server/db")
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn program(&self) -> PathBuf {
        PathBuf::from("/usr/local/bin/fieldgate")
    }

    pub(crate) fn unit(&self) -> PathBuf {
        Path::new("/etc/systemd/system").join(PLUGIN_UNIT)
    }
}
