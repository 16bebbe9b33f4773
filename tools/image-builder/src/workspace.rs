//! What Cargo knows about this repository: packages with their licences, checksums, folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::output;

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Cargo's target folder
    pub(crate) target: PathBuf,
    packages: BTreeMap<PackageKey, Package>,
}

/// Name and version.
pub(crate) type PackageKey = (String, String);

/// One package of the lock file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// SPDX expression, as the package says it
    pub(crate) licence: Option<String>,
    /// SHA-256 of the package file, when it comes from a registry; what has none is of this repository
    pub(crate) checksum: Option<String>,
    /// its folder on this machine
    pub(crate) folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<LockPackage>,
}

#[derive(Deserialize)]
struct LockPackage {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Workspace {
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let text = output(Command::new("cargo").current_dir(root).args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
        ]))?;
        let metadata: Metadata =
            serde_json::from_str(&text).context("what `cargo metadata` printed")?;
        let lock_path = metadata.workspace_root.join("Cargo.lock");
        let lock_text =
            fs::read_to_string(&lock_path).with_context(|| lock_path.display().to_string())?;
        let lock: Lock =
            toml::from_str(&lock_text).with_context(|| lock_path.display().to_string())?;
        Ok(Self::new(metadata, lock))
    }

    fn new(metadata: Metadata, lock: Lock) -> Self {
        let mut packages: BTreeMap<PackageKey, Package> = BTreeMap::new();
        for package in metadata.packages {
            let folder = package
                .manifest_path
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default();
            let about = Package {
                licence: package.license,
                checksum: None,
                folder,
            };
            packages.insert((package.name, package.version), about);
        }
        for locked in lock.package {
            packages
                .entry((locked.name, locked.version))
                .or_default()
                .checksum = locked.checksum;
        }
        Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages,
        }
    }

    pub(crate) fn package(&self, key: &PackageKey) -> Result<&Package> {
        let (name, version) = key;
        self.packages
            .get(key)
            .with_context(|| format!("Cargo.lock has no package {name} {version}"))
    }

    /// The version of a package that is there in one version only.
    pub(crate) fn only_version(&self, name: &str) -> Result<&PackageKey> {
        let mut found = self.packages.keys().filter(|(key, _)| key == name);
        let only = found
            .next()
            .with_context(|| format!("Cargo.lock has no package {name}"))?;
        anyhow::ensure!(
            found.next().is_none(),
            "Cargo.lock has package {name} in two versions"
        );
        Ok(only)
    }

    /// The folders in which the sources of registry packages lie: one per registry.
    pub(crate) fn source_folders(&self) -> BTreeSet<&Path> {
        let from_registry = self
            .packages
            .values()
            .filter(|package| package.checksum.is_some());
        from_registry
            .filter_map(|package| package.folder.parent())
            .filter(|folder| folder.is_absolute())
            .collect()
    }
}

#[cfg(test)]
pub(crate) fn for_test(packages: &[(&str, &str, Package)]) -> Workspace {
    Workspace {
        root: "/repository".into(),
        target: "/repository/target".into(),
        packages: packages
            .iter()
            .map(|(name, version, package)| {
                (((*name).to_owned(), (*version).to_owned()), package.clone())
            })
            .collect(),
    }
}
