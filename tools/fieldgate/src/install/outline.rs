//! What installing and secrets need to know of the appliance description. The whole of it is read and checked by `fieldgate manifests`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

/// A part of `appliance.yaml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Outline {
    #[serde(default = "namespace")]
    pub(crate) namespace: String,
    #[serde(default)]
    serial: Vec<Port>,
    #[serde(default)]
    modules: BTreeMap<String, Value>,
}

/// A serial port, in the description as in the plugin's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    name: String,
    path: String,
}

/// The serial device plugin's document.
#[derive(Debug, Serialize)]
struct PluginDocument<'a> {
    ports: &'a [Port],
}

/// The namespace when the description names none.
pub(crate) fn namespace() -> String {
    "fieldgate".to_owned()
}

impl Outline {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => bail!(
                "the appliance description {}: {error}; write one (docs/operate/cluster.md shows the smallest) or name it with --appliance",
                path.display()
            ),
        };
        serde_yaml_ng::from_str(&text).with_context(|| {
            format!(
                "the appliance description {}; `fieldgate manifests --appliance {0} --check` lists every mistake",
                path.display()
            )
        })
    }

    /// The modules' names.
    pub(crate) fn modules(&self) -> Vec<String> {
        self.modules.keys().cloned().collect()
    }

    /// Whether a module needs the hub's connection string.
    pub(crate) fn has(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// The serial device plugin's document for these ports.
    pub(crate) fn plugin_document(&self) -> Result<String> {
        let document = serde_yaml_ng::to_string(&PluginDocument {
            ports: &self.serial,
        })
        .context("writing the serial device plugin's document")?;
        Ok(format!(
            "# The serial ports of the appliance description, for the serial device plugin. Written by `fieldgate install`: change the\n\
             # description's list `serial` and install again.\n{document}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_gives_modules_and_ports() {
        let outline: Outline = serde_yaml_ng::from_str(
            "appliance: gate-7\nserial: [{name: line-1, path: /dev/serial/by-id/x}]\nmodules: {modbus-reader: {configuration: a.yaml}, iothub-module: {}}\n",
        )
        .unwrap();
        assert_eq!(outline.namespace, "fieldgate");
        assert_eq!(outline.modules(), ["iothub-module", "modbus-reader"]);
        assert!(
            outline
                .plugin_document()
                .unwrap()
                .ends_with("ports:\n- name: line-1\n  path: /dev/serial/by-id/x\n")
        );
    }

    #[test]
    fn no_description_says_what_to_do() {
        let error = Outline::load(Path::new("/nowhere/appliance.yaml")).unwrap_err();
        assert!(error.to_string().contains("--appliance"), "{error}");
    }
}
