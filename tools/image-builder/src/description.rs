//! The description of all images: image/images/images.yaml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_image::ImageName;
use serde::Deserialize;

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// host part of all image names
    registry: String,
    /// `uid:gid` every program runs as
    pub(crate) user: String,
    /// labels of every image
    labels: BTreeMap<String, String>,
    pub(crate) images: Vec<ImageDescription>,
}

/// One image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageDescription {
    /// lower-case letters, digits and '-': part of the archive's name
    pub(crate) name: String,
    title: String,
    description: String,
    /// tag; that of the workspace when left out
    version: Option<String>,
    /// names below the registry; `name` when left out
    #[serde(default)]
    repositories: Vec<String>,
    pub(crate) programs: Vec<ProgramDescription>,
    /// the first program when left out
    entrypoint: Option<Vec<String>>,
    /// `6000/tcp`
    #[serde(default)]
    pub(crate) ports: BTreeSet<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) files: Vec<FileDescription>,
}

/// One program of an image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramDescription {
    /// where it is in the image
    pub(crate) path: String,
    /// its other names: hard links
    #[serde(default)]
    pub(crate) links: Vec<String>,
    pub(crate) rust: Option<RustProgram>,
    pub(crate) go: Option<GoProgram>,
}

/// A program of this workspace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RustProgram {
    pub(crate) package: String,
    /// `package` when left out
    bin: Option<String>,
}

/// A program of a Go module of this repository, or of what such a module depends on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoProgram {
    /// of the module, relative to the repository
    pub(crate) folder: PathBuf,
    /// what `go build` is given
    pub(crate) package: String,
    /// Go variable: module whose version (without the `v`) it is set to
    #[serde(default)]
    pub(crate) version_variables: BTreeMap<String, String>,
}

/// A file that is not a program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDescription {
    /// where it is in the image; readable for all
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// Where a file's content comes from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// the certificates of the authorities Mozilla trusts, as one PEM file
    MozillaRoots,
}

/// Where a program comes from.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    Rust(&'a RustProgram),
    Go(&'a GoProgram),
}

impl RustProgram {
    pub(crate) fn bin(&self) -> &str {
        self.bin.as_deref().unwrap_or(&self.package)
    }
}

impl ProgramDescription {
    pub(crate) fn origin(&self) -> Result<Origin<'_>> {
        match (&self.rust, &self.go) {
            (Some(rust), None) => Ok(Origin::Rust(rust)),
            (None, Some(go)) => Ok(Origin::Go(go)),
            _ => bail!("program {}: give either 'rust' or 'go'", self.path),
        }
    }

    /// The last part of its path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl ImageDescription {
    pub(crate) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))
    }

    pub(crate) fn entrypoint(&self) -> Vec<String> {
        match (&self.entrypoint, self.programs.first()) {
            (Some(given), _) => given.clone(),
            (None, Some(program)) => vec![program.path.clone()],
            (None, None) => Vec::new(),
        }
    }
}

impl Description {
    /// Every Rust program of every image.
    pub(crate) fn rust_programs(&self) -> Vec<&RustProgram> {
        let programs = self.images.iter().flat_map(|image| &image.programs);
        programs
            .filter_map(|program| program.rust.as_ref())
            .collect()
    }

    /// Reads the file and checks what can be checked without building.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let description: Self =
            serde_yaml_ng::from_str(&text).with_context(|| path.display().to_string())?;
        description
            .check()
            .with_context(|| path.display().to_string())?;
        Ok(description)
    }

    fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for image in &self.images {
            let name = &image.name;
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || !name.bytes().all(plain) {
                bail!("image '{name}': a name has lower-case letters, digits and '-' only");
            }
            if image.programs.is_empty() {
                bail!("image {name} has no program");
            }
            for program in &image.programs {
                program.origin().with_context(|| format!("image {name}"))?;
            }
            for full in self.names(image)? {
                if !seen.insert(full.to_string()) {
                    bail!("{full} is the name of two images");
                }
            }
        }
        Ok(())
    }

    /// The images asked for, all when none is named.
    pub(crate) fn select(&self, only: &[String]) -> Result<Vec<&ImageDescription>> {
        let names: Vec<_> = self
            .images
            .iter()
            .map(|image| image.name.as_str())
            .collect();
        if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
            bail!(
                "there is no image '{unknown}'; images: {}",
                names.join(", ")
            );
        }
        let wanted = |image: &&ImageDescription| only.is_empty() || only.contains(&image.name);
        Ok(self.images.iter().filter(wanted).collect())
    }

    pub(crate) fn names(&self, image: &ImageDescription) -> Result<Vec<ImageName>> {
        let own = [image.name.clone()];
        let repositories = if image.repositories.is_empty() {
            own.as_slice()
        } else {
            &image.repositories
        };
        let full = |repository| format!("{}/{repository}:{}", self.registry, image.version());
        let names: Result<Vec<ImageName>, _> = repositories
            .iter()
            .map(|repository| full(repository).parse())
            .collect();
        names.with_context(|| format!("image {}", image.name))
    }

    pub(crate) fn labels(&self, image: &ImageDescription) -> BTreeMap<String, String> {
        const PREFIX: &str = "org.opencontainers.image.";
        let own = [("title", &image.title), ("description", &image.description)];
        let version = (format!("{PREFIX}version"), image.version().to_owned());
        let mut labels = self.labels.clone();
        labels.extend(own.map(|(key, value)| (format!("{PREFIX}{key}"), value.clone())));
        labels.extend([version]);
        labels.extend(image.labels.clone());
        labels
    }
}
