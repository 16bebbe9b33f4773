//! The appliance description and the documents it names.

use k3s_manifest_gen::yaml::emit;
use serde_json::{Map, Value, json};

use super::PlannedFile;
use crate::load::Loaded;
use crate::places;

const NOTE: &str = "# Made by `fieldgate provision` of the provisioning file. Edits are kept until that file says something else of the modules.\n";
/// The certificates of the hub's private certification authority, beside the description.
const CA: &str = "hub-ca.pem";

pub(super) fn plan(loaded: &Loaded, files: &mut Vec<PlannedFile>) {
    let Some(modules) = loaded.value.get("modules").and_then(Value::as_object) else {
        return;
    };
    let mut description = Map::new();
    description.insert("appliance".to_owned(), loaded.provision.name.clone().into());
    for key in ["broker", "serial"] {
        if let Some(part) = loaded.value.get(key) {
            description.insert(key.to_owned(), part.clone());
        }
    }
    let place = |name: &str| format!("{}/{name}", places::APPLIANCE);
    if let Some(certificates) = &loaded.documents.hub_ca {
        files.push(PlannedFile::public(place(CA), certificates.clone()));
        description.insert("hub".to_owned(), json!({ "ca": CA }));
    }
    let mut described = modules.clone();
    for (module, text) in &loaded.documents.files {
        let file = format!("{module}.yaml");
        files.push(PlannedFile::public(place(&file), text.clone()));
        if let Some(entry) = described.get_mut(module).and_then(Value::as_object_mut) {
            entry.insert("configuration".to_owned(), file.into());
        }
    }
    description.insert("modules".to_owned(), described.into());
    // Last: it names the others.
    files.push(PlannedFile::public(
        place("appliance.yaml"),
        format!("{NOTE}{}", emit(&description.into())),
    ));
}
