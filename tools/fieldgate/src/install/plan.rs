//! What is to be on the device, compared with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_yaml_ng::Value;

use super::bundle::Bundle;
use super::item::{Item, Part, Source, State};
use super::outline::Outline;
use super::places::{PLUGIN_DOCUMENT, Places, STATE, VOLUMES};
use super::record::Record;

/// Settings of k3s's configuration file that `k3s agent` has as well as `k3s server` (k3s documentation, "k3s agent").
const AGENT_SETTINGS: [&str; 5] = [
    "disable-default-registry-endpoint",
    "kube-proxy-arg",
    "kubelet-arg",
    "node-label",
    "nonroot-devices",
];

/// An item, what it holds, and how it compares with what is there.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) item: Item,
    pub(crate) content: String,
    pub(crate) state: State,
}

/// What an installation does to files.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Files of an earlier installation that this one does not have: archives of old images above all.
    pub(crate) superseded: Vec<PathBuf>,
    /// Folders that must be there, with their modes.
    pub(crate) directories: Vec<(PathBuf, u32)>,
}

/// What the caller wants otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes<'a> {
    /// Files to leave as they are.
    pub(crate) keep: &'a [PathBuf],
    /// Links to the bundle's archives instead of copies.
    pub(crate) link_images: bool,
    /// For an agent of k3s: the manifests are on the server.
    pub(crate) agent: bool,
}

impl Plan {
    pub(crate) fn make(
        places: &Places,
        bundle: &Bundle,
        outline: &Outline,
        record: &Record,
        wishes: Wishes<'_>,
    ) -> Result<Self> {
        let items = items(places, bundle, outline, wishes)?;
        let wanted: BTreeSet<&Path> = items.iter().map(|item| item.path.as_path()).collect();
        let superseded = record
            .files
            .keys()
            .filter(|path| !wanted.contains(path.as_path()) && !wishes.keep.contains(path))
            .cloned()
            .collect();
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            if wishes.keep.contains(&item.path) {
                continue;
            }
            let content = item.content()?;
            if let Source::Copy(from) = &item.source {
                bundle.verify(from, &content)?;
            }
            let state = item.state(places, record)?;
            steps.push(Step {
                item,
                content,
                state,
            });
        }
        let mut directories: Vec<(PathBuf, u32)> = [
            ("/etc/fieldgate", 0o755),
            ("/etc/rancher/k3s/config.yaml.d", 0o755),
            (STATE, 0o755),
            (VOLUMES, 0o755),
        ]
        .map(|(path, mode)| (PathBuf::from(path), mode))
        .into();
        // As k3s makes them.
        directories.push((places.images(), 0o700));
        if !wishes.agent {
            directories.push((places.manifests(), 0o700));
            directories.push((places.database(), 0o700));
        }
        Ok(Self {
            steps,
            superseded,
            directories,
        })
    }

    /// # Errors
    /// Names every file that is in the way.
    pub(crate) fn refuse_foreign(&self) -> Result<()> {
        let foreign: Vec<String> = self
            .steps
            .iter()
            .filter(|step| step.state == State::Foreign)
            .map(|step| step.item.path.display().to_string())
            .collect();
        if foreign.is_empty() {
            return Ok(());
        }
        bail!(
            "these files are not from an installation of Fieldgate, or were edited since; nothing was changed:\n  {}\nmove them away, or leave one as it is with --keep FILE",
            foreign.join("\n  ")
        )
    }

    /// Whether a file of the part is written or taken away.
    pub(crate) fn changes(&self, part: Part) -> bool {
        self.steps
            .iter()
            .any(|step| step.item.part == part && step.state != State::Same)
    }

    /// Bytes of image archives that k3s has to unpack.
    pub(crate) fn new_images(&self) -> Result<u64> {
        let mut bytes = 0;
        for step in &self.steps {
            let (Source::Copy(from) | Source::Link(from)) = &step.item.source else {
                continue;
            };
            if step.state == State::Same || !from.to_string_lossy().ends_with(".tar.zst") {
                continue;
            }
            bytes += std::fs::metadata(from)
                .with_context(|| format!("reading {}", from.display()))?
                .len();
        }
        Ok(bytes)
    }
}

/// The settings of k3s that an agent knows: it ends at the first other one.
fn agent_config(file: &Path) -> Result<String> {
    let context = || format!("reading {}", file.display());
    let text = std::fs::read_to_string(file).with_context(context)?;
    let mut settings: BTreeMap<String, Value> =
        serde_yaml_ng::from_str(&text).with_context(context)?;
    settings.retain(|name, _| AGENT_SETTINGS.contains(&name.as_str()));
    let settings = serde_yaml_ng::to_string(&settings).with_context(context)?;
    Ok(format!(
        "# k3s on an agent of the appliance: from the server's file those settings that an agent has. Written by `fieldgate install --agent`; put\n\
         # your own into a file that sorts later.\n{settings}"
    ))
}

fn items(
    places: &Places,
    bundle: &Bundle,
    outline: &Outline,
    wishes: Wishes<'_>,
) -> Result<Vec<Item>> {
    let copy = |path: PathBuf, from: PathBuf, mode: u32, part: Part| Item {
        path,
        source: Source::Copy(from),
        mode,
        part,
    };
    let config = if wishes.agent {
        Item {
            path: places.k3s_config(),
            source: Source::Text(agent_config(&bundle.k3s_config())?),
            mode: 0o600,
            part: Part::K3s,
        }
    } else {
        copy(places.k3s_config(), bundle.k3s_config(), 0o600, Part::K3s)
    };
    let mut items = vec![
        config,
        copy(places.registries(), bundle.registries(), 0o600, Part::K3s),
        copy(
            places.kubelet_config(),
            bundle.kubelet_config(),
            0o600,
            Part::K3s,
        ),
    ];
    for archive in bundle.images() {
        let name = archive.file_name().context("an archive without a name")?;
        let source = if wishes.link_images {
            Source::Link(archive.clone())
        } else {
            Source::Copy(archive.clone())
        };
        items.push(Item {
            path: places.images().join(name),
            source,
            mode: 0o644,
            part: Part::Watched,
        });
    }
    if !wishes.agent {
        for (name, from) in [
            ("dapr-crds.yaml", bundle.dapr_crds()),
            ("dapr.yaml", bundle.dapr()),
        ] {
            let path = places.manifests().join(name);
            items.push(copy(path, from, 0o600, Part::Watched));
        }
    }
    items.extend([
        copy(
            bundle.plugin_program()?,
            bundle.program("serial-device-plugin"),
            0o755,
            Part::Plugin,
        ),
        Item {
            path: PLUGIN_DOCUMENT.into(),
            source: Source::Text(outline.plugin_document()?),
            mode: 0o644,
            part: Part::Plugin,
        },
        copy(places.unit(), bundle.unit(), 0o644, Part::Plugin),
        copy(
            places.program(),
            bundle.program("fieldgate"),
            0o755,
            Part::Program,
        ),
    ]);
    Ok(items)
}
