//! What the manifests folder wants the cluster to run. After an update the cluster still has the images of before until k3s has applied the
//! folder: without this, the old version would pass for the new one.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::cluster::Workload;
use super::judge::wanted;

/// A file larger than this is none of ours.
const MAX: u64 = 16 << 20;

/// A workload, and the file it is in.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) workload: Workload,
    pub(crate) file: String,
}

/// The workloads of Fieldgate and Dapr in a folder. What cannot be read is left out: k3s says more about it, and applies nothing of it.
pub(crate) fn read(folder: &Path) -> Vec<Expected> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // As k3s: files of other extensions, and those with a `.skip` beside them, are not applied.
        let is_read = name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
        let skipped = folder.join(format!("{name}.skip")).exists();
        let small = fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= MAX);
        if !is_read || skipped || !small {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        found.extend(parse(&text, &name));
    }
    found
}

fn parse(text: &str, file: &str) -> Vec<Expected> {
    // Most of a folder is other objects, among them large ones.
    if !text.contains("Deployment") && !text.contains("StatefulSet") {
        return Vec::new();
    }
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents
        .filter_map(|document| Value::deserialize(document).ok())
        .filter(|object| matches!(object["kind"].as_str(), Some("Deployment" | "StatefulSet")))
        .filter_map(|object| serde_json::from_value::<Workload>(object).ok())
        .filter(|workload| wanted(workload).is_some())
        .map(|workload| Expected {
            workload,
            file: file.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_of_the_generator_name_broker_and_modules() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crates/k3s-manifest-gen/tests/golden");
        let found = read(&folder);
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.workload.words(), one.file.as_str()))
            .collect();
        let pair = |name: &str, file| (name.to_owned(), file);
        assert_eq!(
            names,
            [
                pair("deployment/device-agent", "device-agent.yaml"),
                pair("statefulset/broker", "fieldgate-broker.yaml"),
                pair("deployment/iothub-module", "iothub-module.yaml"),
                pair("deployment/modbus-reader", "modbus-reader.yaml"),
                pair("deployment/press-watch", "press-watch.yaml"),
            ]
        );
        assert_eq!(
            found[3].workload.images(),
            ["fieldgate.io/modbus-reader:0.1.0"]
        );
        assert!(read(Path::new("/nowhere")).is_empty());
    }
}
