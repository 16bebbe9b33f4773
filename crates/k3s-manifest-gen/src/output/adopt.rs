//! Moves what a person edited in a generated file into its override.

use module_runtime::{Problem, path};
use serde_json::{Value, json};

use super::text::OVERRIDE_ENDING;
use crate::changes::{is_same_object, title};
use crate::patch::diff;
use crate::yaml::{Located, emit};

/// Without what YAML leaves empty: a key without a value is no key to Kubernetes.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The override's text with the edits behind what it holds already; what cannot be said in an override is a problem.
pub(super) fn adopt(
    file: &str,
    before: &[Value],
    edited: &[Located],
    existing: Option<&str>,
) -> Result<String, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for object in edited {
        let is_known = before.iter().any(|one| is_same_object(one, object.value()));
        if !is_known {
            problems.push(object.problem(
                &path!["metadata", "name"],
                format!(
                    "{} is not generated, so no override can hold it; move it into a file of your own",
                    title(object.value())
                ),
            ));
        }
    }
    for object in before {
        let now = edited
            .iter()
            .find(|one| is_same_object(object, one.value()));
        let change = match now {
            None => Some(json!({crate::patch::MARK: "delete"})),
            Some(now) => diff(object, &without_nulls(now.value())),
        };
        if let Some(change) = change {
            documents.push(emit(&named(change, object)));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut text = match existing {
        Some(existing) => format!("{}\n", existing.trim_end()),
        None => format!("# Changes of {file}: made when `fieldgate manifests` runs (see there).\n"),
    };
    for document in documents {
        text.push_str(&format!(
            "---\n# Adopted from an edit of {file}.\n{document}"
        ));
    }
    debug_assert!(!file.ends_with(OVERRIDE_ENDING));
    Ok(text)
}

/// A change that says which object it is for.
fn named(change: Value, object: &Value) -> Value {
    let mut change = change;
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            change[key] = value.clone();
        }
    }
    if !change["metadata"].is_object() {
        change["metadata"] = json!({});
    }
    if let Some(name) = object.pointer("/metadata/name") {
        change["metadata"]["name"] = name.clone();
    }
    change
}
