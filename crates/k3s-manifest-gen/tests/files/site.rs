//! A directory of manifests with a description that changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use k3s_manifest_gen::output::{Action, Options, OutputError, Plan, plan_files};
use k3s_manifest_gen::{ManifestFile, Object, Ownership};
use serde_json::{Value, json};

/// A directory, and what the description asks for.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) memory: &'static str,
    pub(crate) image: &'static str,
    pub(crate) modules: Vec<&'static str>,
    pub(crate) document: &'static str,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            memory: "64Mi",
            image: "x/reader:1",
            modules: vec!["reader"],
            document: "links: []\n",
        }
    }

    pub(crate) fn files(&self) -> Vec<ManifestFile> {
        let mut files = Vec::new();
        for module in &self.modules {
            files.push(ManifestFile {
                name: format!("{module}.yaml"),
                purpose: "For tests.".to_owned(),
                ownership: Ownership::Generated,
                objects: vec![
                    Object::new("Who it is", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": module}})),
                    Object::new("The module", self.deployment(module)),
                ],
            });
            files.push(ManifestFile {
                name: format!("{module}-configuration.yaml"),
                purpose: "What it does.".to_owned(),
                ownership: Ownership::Seed,
                objects: vec![Object::new(
                    "The document",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{module}-configuration")},
                        "data": {format!("{module}.yaml"): self.document}}),
                )],
            });
        }
        files
    }

    pub(crate) fn deployment(&self, module: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": module},
            "spec": {"selector": {"matchLabels": {"a": module}}, "template": {
                "metadata": {"labels": {"a": module}},
                "spec": {"containers": [{
                    "name": module, "image": self.image, "env": [{"name": "LOG", "value": "info"}],
                    "resources": {"limits": {"memory": self.memory}},
                }]},
            }},
        })
    }

    pub(crate) fn try_plan(&self, adopt: bool, reset: &[&str]) -> Result<Plan, OutputError> {
        let reset: Vec<String> = reset.iter().map(|module| (*module).to_owned()).collect();
        let options = Options {
            directory: self.directory.path(),
            description: "appliance.yaml",
            adopt,
            reset: &reset,
        };
        plan_files(self.files(), "gate-7", options)
    }

    pub(crate) fn plan(&self) -> Plan {
        self.try_plan(false, &[]).unwrap()
    }

    pub(crate) fn write(&self) -> Plan {
        let plan = self.plan();
        plan.write().unwrap();
        plan
    }

    pub(crate) fn adopt(&self) -> Plan {
        let plan = self.try_plan(true, &[]).unwrap();
        plan.write().unwrap();
        plan
    }

    /// The problems of a plan that must fail, and that the directory is as it was.
    pub(crate) fn refused(&self, adopt: bool, reset: &[&str]) -> String {
        let before = self.everything();
        let message = self.try_plan(adopt, reset).unwrap_err().to_string();
        assert_eq!(self.everything(), before);
        message.replace(&format!("{}/", self.directory.path().display()), "")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{text}");
        self.put(name, &text.replacen(from, to, 1));
    }

    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, (String, SystemTime)> {
        let mut all = BTreeMap::new();
        for directory in [self.path(""), self.path(".fieldgate")] {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let modified = path.metadata().unwrap().modified().unwrap();
                    all.insert(
                        path.clone(),
                        (std::fs::read_to_string(&path).unwrap(), modified),
                    );
                }
            }
        }
        all
    }
}

pub(crate) fn action<'p>(plan: &'p Plan, file: &str) -> &'p Action {
    &plan
        .steps
        .iter()
        .find(|step| step.file == file)
        .unwrap()
        .action
}

pub(crate) fn shown(action: &Action) -> Vec<String> {
    match action {
        Action::Update(changes)
        | Action::Edited(changes)
        | Action::Adopt(changes, _)
        | Action::Reset(changes) => changes.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}
