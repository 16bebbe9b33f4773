//! The bundle: the folder with everything that goes onto a device.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

/// A processor architecture as container images name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// That of this machine.
    pub(crate) fn here() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => {
                bail!("this machine's processor is {other}; Fieldgate is made for amd64 and arm64")
            }
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// A bundle that has what the architecture needs.
#[derive(Debug)]
pub(crate) struct Bundle {
    folder: PathBuf,
    architecture: Architecture,
    images: Vec<PathBuf>,
    /// By file; empty when the bundle has no list.
    sums: BTreeMap<PathBuf, String>,
}

impl Bundle {
    /// # Errors
    /// Names every file that is missing.
    pub(crate) fn open(folder: &Path, architecture: Architecture) -> Result<Self> {
        let folder = folder.canonicalize().with_context(|| {
            format!(
                "--bundle {}: there is no such folder; make one with scripts/build-bundle",
                folder.display()
            )
        })?;
        let images = folder.join("images").join(architecture.to_string());
        if !images.is_dir() {
            bail!(
                "the bundle {} has no images for {architecture}, but for {}; take the bundle for this machine",
                folder.display(),
                names_in(&folder.join("images"))
            );
        }
        let bundle = Self {
            images: archives(&images)?,
            sums: sums(&folder)?,
            folder,
            architecture,
        };
        bundle.check()?;
        Ok(bundle)
    }

    fn check(&self) -> Result<()> {
        let missing: Vec<String> = [
            self.k3s_config(),
            self.kubelet_config(),
            self.registries(),
            self.dapr_crds(),
            self.dapr(),
            self.unit(),
            self.program("fieldgate"),
            self.program("serial-device-plugin"),
        ]
        .iter()
        .filter(|path| !path.is_file())
        .map(|path| path.display().to_string())
        .collect();
        if !missing.is_empty() {
            bail!(
                "the bundle is not complete, make it anew; missing:\n  {}",
                missing.join("\n  ")
            );
        }
        if self.images.is_empty() {
            bail!(
                "the bundle {} has no image archives (*.tar.zst) for {}; make it anew",
                self.folder.display(),
                self.architecture
            );
        }
        Ok(())
    }

    /// Holds a file against the bundle's list of checksums, which a broken copy does not survive. `content` is `sha256:…`.
    pub(crate) fn verify(&self, file: &Path, content: &str) -> Result<()> {
        match self.sums.get(file) {
            Some(sum) if Some(sum.as_str()) != content.strip_prefix("sha256:") => bail!(
                "{} is damaged: it does not have the checksum of SHA256SUMS; copy the bundle again",
                file.display()
            ),
            _ => Ok(()),
        }
    }

    /// The archives of images, by name.
    pub(crate) fn images(&self) -> &[PathBuf] {
        &self.images
    }

    pub(crate) fn k3s_config(&self) -> PathBuf {
        self.folder.join("k3s/config.yaml.d/10-fieldgate.yaml")
    }

    pub(crate) fn kubelet_config(&self) -> PathBuf {
        self.folder.join("k3s/kubelet.conf.d/10-fieldgate.conf")
    }

    pub(crate) fn registries(&self) -> PathBuf {
        self.folder.join("k3s/registries.yaml")
    }

    pub(crate) fn dapr_crds(&self) -> PathBuf {
        self.folder.join("manifests/dapr-crds.yaml")
    }

    pub(crate) fn dapr(&self) -> PathBuf {
        self.folder.join("manifests/dapr.yaml")
    }

    pub(crate) fn unit(&self) -> PathBuf {
        self.folder.join("systemd").join(super::places::PLUGIN_UNIT)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder
            .join("bin")
            .join(self.architecture.to_string())
            .join(name)
    }

    /// Where the unit expects its program: the first word of `ExecStart=`.
    pub(crate) fn plugin_program(&self) -> Result<PathBuf> {
        let unit = self.unit();
        let text =
            fs::read_to_string(&unit).with_context(|| format!("reading {}", unit.display()))?;
        exec_start(&text)
            .with_context(|| format!("{} has no ExecStart= with an absolute path", unit.display()))
    }
}

fn exec_start(unit: &str) -> Option<PathBuf> {
    let command = unit
        .lines()
        .find_map(|line| line.trim().strip_prefix("ExecStart="))?;
    let program = command
        .trim_start_matches(['-', '@', ':', '+', '!'])
        .split_whitespace()
        .next()?;
    Path::new(program).is_absolute().then(|| program.into())
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        if path.to_string_lossy().ends_with(".tar.zst") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The list that `sha256sum` wrote.
fn sums(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let path = folder.join("SHA256SUMS");
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| {
            let name = name.strip_prefix("./").unwrap_or(name);
            (folder.join(name), sum.to_owned())
        })
        .collect())
}

fn names_in(folder: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_says_where_its_program_is() {
        let at = |text: &str| exec_start(text).map(|path| path.display().to_string());
        assert_eq!(
            at("[Service]\nExecStart=/usr/local/bin/plugin --config x\n").as_deref(),
            Some("/usr/local/bin/plugin")
        );
        assert_eq!(at("ExecStart=-/opt/plugin").as_deref(), Some("/opt/plugin"));
        assert_eq!(at("ExecStart=plugin\n"), None);
        assert_eq!(at("[Unit]\n"), None);
    }
}
