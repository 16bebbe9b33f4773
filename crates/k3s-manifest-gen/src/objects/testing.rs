//! What the tests of the objects share.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::manifest_files;
use crate::{Appliance, Documents, ManifestFile};

/// An appliance with all kinds of modules.
pub(super) fn appliance() -> Appliance {
    from(&json!({
        "appliance": "gate-7",
        "serial": [{"name": "line-1", "path": "/dev/serial/by-id/usb-x"}],
        "modules": {
            "modbus-reader": {"configuration": "modbus-reader.yaml", "serial": ["line-1"]},
            "iothub-module": {"configuration": "iothub-module.yaml"},
            "my-filter": {
                "image": "registry.example/my-filter:1.2.3",
                "app_port": 8080,
                "metrics_port": 9100,
                "subscribes": [{"topic": "telemetry", "route": "/events"}],
                "publishes": ["alarms"],
                "calls": ["modbus-reader.read"],
                "egress": [{"cidr": "192.168.1.10/32", "ports": [1883]}],
            },
            "bare": {"image": "registry.example/bare:1"},
        },
    }))
}

/// An appliance with one module `filter` of somebody's own.
pub(super) fn custom(module: &str) -> Appliance {
    let module: Value = serde_json::from_str(module).unwrap();
    from(&json!({"appliance": "gate-7", "modules": {"filter": module}}))
}

/// A description as it is after loading.
pub(super) fn from(description: &Value) -> Appliance {
    let mut appliance: Appliance = serde_json::from_value(description.clone()).unwrap();
    appliance.version = "0.1.0".to_owned();
    appliance
}

/// The texts of [`appliance`].
pub(super) fn documents() -> Documents {
    let files = ["modbus-reader", "iothub-module"]
        .map(|module| (module.to_owned(), "name: x\n".to_owned()));
    Documents {
        files: files.into(),
        hub_ca: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
    }
}

/// The files of [`appliance`].
pub(super) fn files() -> Vec<ManifestFile> {
    manifest_files(&appliance(), &documents())
}

/// Every object of some files.
pub(super) fn all(files: &[ManifestFile]) -> Vec<&Value> {
    files
        .iter()
        .flat_map(|file| &file.objects)
        .map(|object| &object.value)
        .collect()
}

/// The object of a kind and name.
pub(super) fn find(files: &[ManifestFile], kind: &str, name: &str) -> Value {
    all(files)
        .into_iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .cloned()
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Plain environment variables of a container.
pub(super) fn variables(container: &Value) -> BTreeMap<String, String> {
    let list = container["env"].as_array().unwrap();
    list.iter()
        .filter_map(|one| {
            let name = one["name"].as_str()?;
            Some((name.to_owned(), one["value"].as_str()?.to_owned()))
        })
        .collect()
}
