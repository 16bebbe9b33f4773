//! The generated manifests: written by `fieldgate manifests`, read here for the volumes they need and for taking them off again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::places::{Places, VOLUMES};

/// Stands in the header of every generated file.
const MARK: &str = "# fieldgate-checksum:";

/// The generator's own folder beside its files.
pub(crate) const MEMORY: &str = ".fieldgate";

/// Writes the manifests of the description into the folder, as `fieldgate manifests` does: what a person edited is reported and kept.
pub(crate) trait Generate {
    /// `check` writes nothing.
    fn generate(&self, appliance: &Path, output: &Path, check: bool) -> Result<()>;
}

/// The command of this program.
#[derive(Debug)]
pub(crate) struct OwnCommand;

impl Generate for OwnCommand {
    fn generate(&self, appliance: &Path, output: &Path, check: bool) -> Result<()> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(program);
        command
            .arg("manifests")
            .arg("--appliance")
            .arg(appliance)
            .arg("--output")
            .arg(output)
            .stdin(Stdio::null());
        if check {
            command.arg("--check");
        }
        let status = command.status().context("starting `fieldgate manifests`")?;
        // With --check an exit status of 1 says that there is something to write.
        if !status.success() && !check {
            bail!(
                "the manifests in {} were not written in full (see above); mend what is listed and install again",
                output.display()
            );
        }
        Ok(())
    }
}

/// Names of the YAML files in the manifests folder.
pub(crate) fn names(places: &Places) -> Result<BTreeSet<String>> {
    let folder = places.here(&places.manifests());
    if !folder.is_dir() {
        return Ok(BTreeSet::new());
    }
    names_in(&folder)
}

/// Names in a folder.
pub(crate) fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .file_name();
        found.insert(name.to_string_lossy().into_owned());
    }
    Ok(found)
}

/// The generator's files: those of its mark, those the record knows, and those that are there since.
pub(crate) fn generated(
    places: &Places,
    before: &BTreeSet<String>,
    known: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let folder = places.here(&places.manifests());
    let mut ours = BTreeSet::new();
    for name in names(places)? {
        if name.starts_with('.') || name == "dapr.yaml" || name == "dapr-crds.yaml" {
            continue;
        }
        if known.contains(&name) || !before.contains(&name) || has_mark(&folder.join(&name)) {
            ours.insert(name);
        }
    }
    Ok(ours)
}

/// Whether the file is written anew by every run, so that nothing of a person's is lost with it.
pub(crate) fn has_mark(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| {
        text.lines()
            .take_while(|line| line.starts_with('#'))
            .any(|line| line.starts_with(MARK))
    })
}

/// The objects of a file.
pub(crate) fn objects(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document)
            .with_context(|| format!("{} is not YAML", path.display()))?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    Ok(objects)
}

/// Folders that the generated PersistentVolumes of this node stand for; of every node when its name is not known.
pub(crate) fn volumes(
    folder: &Path,
    files: &BTreeSet<String>,
    node: Option<&str>,
) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for name in files.iter().filter(|name| name.ends_with(".yaml")) {
        for object in objects(&folder.join(name))? {
            if object.get("kind").and_then(Value::as_str) != Some("PersistentVolume") {
                continue;
            }
            if let (Some(place), Some(node)) = (node_of(&object), node)
                && place != node
            {
                continue;
            }
            let path = object
                .pointer("/spec/local/path")
                .and_then(Value::as_str)
                .map(PathBuf::from);
            // Another place is an override's, and a person's to make.
            if let Some(path) = path.filter(|path| path.parent() == Some(Path::new(VOLUMES))) {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// The node that a PersistentVolume is on, if it says so.
fn node_of(volume: &Value) -> Option<&str> {
    volume
        .pointer("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions")?
        .as_array()?
        .iter()
        .find(|one| one.get("key").and_then(Value::as_str) == Some("kubernetes.io/hostname"))?
        .pointer("/values/0")?
        .as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_those_of_the_generated_files() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::new(Some(root.path()), Path::new("/k3s")).unwrap();
        let folder = places.here(&places.manifests());
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("a.yaml"),
            "# x\n# fieldgate-checksum: sha256:1\n---\nkind: PersistentVolume\nspec: {local: {path: /var/lib/fieldgate/volumes/a-state}}\n---\nkind: Service\n---\nkind: PersistentVolume\nspec: {local: {path: /mnt/elsewhere}}\n---\nkind: PersistentVolume\nspec: {local: {path: /var/lib/fieldgate/volumes/b-state}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: fieldgate.io/storage}, {key: kubernetes.io/hostname, values: [gate-8]}]}]}}}\n",
        )
        .unwrap();
        fs::write(folder.join("theirs.yaml"), "kind: Pod\n").unwrap();
        let before = names(&places).unwrap();
        let ours = generated(&places, &before, &BTreeSet::new()).unwrap();
        assert_eq!(ours.iter().collect::<Vec<_>>(), ["a.yaml"]);
        let found = |node| volumes(&folder, &ours, node).unwrap();
        let [one, two] = ["a-state", "b-state"].map(|name| Path::new(VOLUMES).join(name));
        assert_eq!(
            found(Some("gate-7")).into_iter().collect::<Vec<_>>(),
            std::slice::from_ref(&one)
        );
        assert_eq!(found(Some("gate-8")).len(), 2);
        assert_eq!(found(None).into_iter().collect::<Vec<_>>(), [one, two]);
    }
}
