//! The record of what was installed: it tells our files from others', and makes taking them off exact.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::places::{Places, RECORD};
use crate::whole_file;

/// `/var/lib/fieldgate/install.json`. Paths are those of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The program that installed.
    pub(crate) version: String,
    /// Every file and link, with what it held.
    pub(crate) files: BTreeMap<PathBuf, Installed>,
    /// Folders that did not exist before, to be removed when they are empty.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Whether the machine is an agent: another one has the manifests.
    #[serde(default)]
    pub(crate) agent: bool,
    /// Names in the manifests folder that the generator wrote.
    pub(crate) generated: BTreeSet<String>,
    /// Of a newer version: on a device with two systems both keep the record, and what one does not know it leaves.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// What an installed file held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// `sha256:…` of the content, or `link:…` with the target.
    pub(crate) content: String,
    /// What was there before, while an installation runs: a power cut leaves either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// Of a newer version.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

impl Record {
    /// An absent record is an empty one.
    pub(crate) fn load(places: &Places) -> Result<Self> {
        let path = places.here(Path::new(RECORD));
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!(
                    "{} is damaged; move it away, then what is installed counts as not ours",
                    path.display()
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub(crate) fn save(&self, places: &Places) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("writing the record")?;
        text.push('\n');
        whole_file::write(&places.here(Path::new(RECORD)), text.as_bytes(), 0o644)
    }

    /// Whether the file's content is what we put there.
    pub(crate) fn knows(&self, path: &Path, content: &str) -> bool {
        self.files.get(path).is_some_and(|installed| {
            installed.content == content || installed.before.as_deref() == Some(content)
        })
    }
}
