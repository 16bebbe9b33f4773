//! Where things are on the device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The device's file tree.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// On the data partition: both slots see it.
    fn folder(&self) -> PathBuf {
        self.root.join("var/lib/fieldgate/update")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    /// Held while an installation runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder().join("lock")
    }

    /// What is being downloaded, and what is known of it.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder().join("download")
    }

    /// The proxy that provisioning wrote.
    pub(crate) fn proxy(&self) -> PathBuf {
        self.root.join("data/etc/proxy.env")
    }

    pub(crate) fn os_release(&self) -> PathBuf {
        self.root.join("etc/os-release")
    }

    /// The slot on the kernel's command line; none on a machine that was not booted from one.
    pub(crate) fn booted_slot(&self) -> Option<String> {
        let line = fs::read_to_string(self.root.join("proc/cmdline")).ok()?;
        let mut slots = line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("rauc.slot="));
        slots.next_back().map(str::to_owned)
    }

    pub(crate) fn make_folder(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))
    }
}
