//! Which queue is meant, and where its file is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use module_runtime::configuration::ByteSize;
use serde::Deserialize;
use serde_json::Value;
use store_forward::{CopyError, Files, files};

use crate::health::MANIFESTS;
use crate::install::VOLUMES;

/// Where a pod sees its volume.
const STATE: &str = "/var/lib/fieldgate/state";
/// The queue's file when no document says another.
const FILE: &str = "queue.db";

/// Which queue is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct QueuePlace {
    /// The queue's file, `queue.path` of the module's document; one that was set aside as damaged can be listed and exported, too
    #[arg(long, value_name = "FILE", conflicts_with = "module")]
    file: Option<PathBuf>,

    /// The module whose queue it is, on a node where it runs in Kubernetes
    #[arg(long, value_name = "NAME", default_value = "iothub-module", value_parser = name)]
    module: String,

    /// Where the file is copied to if no module can be asked [default: its own folder, else that for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(super) scratch: Option<PathBuf>,

    /// The device's file tree, if it is not this machine's
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

fn name(text: &str) -> Result<String, String> {
    if measurement::valid_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("a name is {}", measurement::NAME_RULE))
    }
}

/// A queue's file and what is known of it from elsewhere.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Of the module's document.
    pub(super) max_bytes: Option<u64>,
    pub(super) when_full: Option<String>,
    /// The module, if the queue was looked for by it.
    pub(super) module: Option<String>,
}

/// What the module's document says of the queue.
#[derive(Debug, Default, Deserialize)]
struct Queue {
    path: Option<PathBuf>,
    max_bytes: Option<ByteSize>,
    when_full: Option<String>,
}

impl QueuePlace {
    pub(super) fn find(&self) -> Place {
        if let Some(file) = &self.file {
            return Place {
                path: file.clone(),
                max_bytes: None,
                when_full: None,
                module: None,
            };
        }
        let here = |path: &str| self.root.join(path.trim_start_matches('/'));
        let queue = document(&here(MANIFESTS), &self.module).unwrap_or_default();
        let file = queue
            .path
            .as_deref()
            .and_then(|path| path.strip_prefix(STATE).ok())
            .unwrap_or(Path::new(FILE));
        Place {
            path: here(VOLUMES)
                .join(format!("{}-state", self.module))
                .join(file),
            max_bytes: queue.max_bytes.map(ByteSize::get),
            when_full: queue.when_full,
            module: Some(self.module.clone()),
        }
    }
}

impl Place {
    /// Looks at the files.
    pub(super) fn files(&self) -> Result<Files> {
        match files(&self.path) {
            Err(error @ CopyError::Missing { .. }) => match &self.module {
                Some(module) => bail!(
                    "{error}; {module} is not installed here, has not stored anything yet, or runs without Kubernetes: name its file, queue.path of its document, with --file"
                ),
                None => bail!("{error}; the document of the module names it as queue.path"),
            },
            Err(error @ CopyError::Storage { .. }) => {
                Err(error).context("looking at the queue, which root and the module's user may")
            }
            found => Ok(found?),
        }
    }

    /// How the module is stopped.
    pub(super) fn stop(&self) -> String {
        match &self.module {
            Some(module) => format!(
                "`kubectl -n fieldgate scale deployment/{module} --replicas=0`, and --replicas=1 afterwards"
            ),
            None => {
                "SIGTERM; in Kubernetes `kubectl -n fieldgate scale deployment/NAME --replicas=0`"
                    .to_owned()
            }
        }
    }
}

/// What the ConfigMap that is applied says; none if it is not there or says nothing that can be read.
fn document(manifests: &Path, module: &str) -> Option<Queue> {
    #[derive(Deserialize)]
    struct Document {
        queue: Option<Queue>,
    }
    let path = manifests.join(format!("{module}-configuration.yaml"));
    let text = fs::read_to_string(path).ok()?;
    let objects = serde_yaml_ng::Deserializer::from_str(&text)
        .filter_map(|object| Value::deserialize(object).ok());
    let text = objects
        .filter(|object| object["kind"] == "ConfigMap")
        .find_map(|object| {
            Some(
                object["data"][format!("{module}.yaml")]
                    .as_str()?
                    .to_owned(),
            )
        })?;
    let document: Document = serde_yaml_ng::from_str(&text).ok()?;
    document.queue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_the_generator_says_file_and_bound() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crates/k3s-manifest-gen/tests/golden");
        let queue = document(&golden, "iothub-module").unwrap();
        assert_eq!(
            queue.path.as_deref(),
            Some(Path::new("/var/lib/fieldgate/state/queue.db"))
        );
        assert_eq!(queue.max_bytes.map(ByteSize::get), Some(1 << 30));
        assert!(document(&golden, "press-watch").is_none());
    }
}
