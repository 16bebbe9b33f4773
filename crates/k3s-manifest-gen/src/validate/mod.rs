//! Objects against the types of the version of Kubernetes (and Dapr) that they are for.
//!
//! An object is read as its type and written again: what does not come back is a field that the type does not have.

mod dapr;
mod kinds;

use module_runtime::configuration::Path;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Something wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in the object.
    pub path: Path,
    /// What is wrong, with the remedy where there is one to tell.
    pub message: String,
}

/// Everything that is wrong with an object.
pub fn validate(object: &Value) -> Vec<Fault> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let mut faults = match kinds::check_of(version, kind) {
        Some(check) => check(object),
        None => vec![Fault {
            path: Path::root().join("kind"),
            message: if kind == "Secret" {
                "a Secret is never in a manifest; `fieldgate secrets` makes it on the device"
                    .to_owned()
            } else {
                format!(
                    "{version} {kind} is not a kind that these files may hold; put such an object into a file of your own"
                )
            },
        }],
    };
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    if name.is_none_or(str::is_empty) {
        faults.push(Fault {
            path: Path::root().join("metadata").join("name"),
            message: "is missing".to_owned(),
        });
    }
    faults
}

/// Reads an object as `T`, and compares what it becomes when it is written again.
fn check<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<Fault> {
    let typed: T = match serde_path_to_error::deserialize(object) {
        Ok(typed) => typed,
        Err(error) => {
            return vec![Fault {
                path: error.path().into(),
                message: with_remedy(&error.inner().to_string()),
            }];
        }
    };
    let mut faults = Vec::new();
    match serde_json::to_value(&typed) {
        Ok(again) => compare(object, Some(&again), &Path::root(), &mut faults),
        Err(error) => faults.push(Fault {
            path: Path::root(),
            message: error.to_string(),
        }),
    }
    faults
}

fn compare(written: &Value, again: Option<&Value>, path: &Path, faults: &mut Vec<Fault>) {
    let mut fault = |message: &str| {
        faults.push(Fault {
            path: path.clone(),
            message: message.to_owned(),
        });
    };
    match (written, again) {
        (Value::Null, _) => fault("is empty (null); give it a value or remove it"),
        (_, None) => fault("is not a field of this kind; mind upper and lower case, or remove it"),
        (Value::Object(old), Some(Value::Object(new))) => {
            for (key, value) in old {
                compare(value, new.get(key), &path.join(key), faults);
            }
        }
        (Value::Array(old), Some(Value::Array(new))) => {
            for (index, value) in old.iter().enumerate() {
                compare(value, new.get(index), &path.join(index), faults);
            }
        }
        (old, Some(new)) if is_same(old, new) => {}
        (_, Some(new)) => fault(&format!("is read as {new}; write it so")),
    }
}

fn is_same(old: &Value, new: &Value) -> bool {
    let is_number = old.is_number() && old.as_f64() == new.as_f64();
    // An amount may be a number; its type keeps it as text.
    let is_amount = old.is_number() && new.as_str() == Some(old.to_string().as_str());
    old == new || is_number || is_amount
}

/// The commonest mistake in these files is a number where Kubernetes wants a text.
fn with_remedy(message: &str) -> String {
    let wants_text = message.contains("expected a string");
    let has_number = [
        "invalid type: integer",
        "invalid type: boolean",
        "invalid type: floating",
    ]
    .iter()
    .any(|kind| message.starts_with(kind));
    if wants_text && has_number {
        format!("{message}; put it in quotes")
    } else {
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(object: &Value) -> Vec<String> {
        validate(object)
            .iter()
            .map(|fault| format!("{}: {}", fault.path, fault.message))
            .collect()
    }

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "x", "labels": {}, "annotations": {"a": "b"}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {
                        "containers": [{
                            "name": "c",
                            "image": "i",
                            "args": [],
                            "resources": {"limits": {"memory": "64Mi", "fieldgate.io/serial-line-1": "1"}},
                            "livenessProbe": {"httpGet": {"path": "/", "port": 9600}},
                        }],
                        "volumes": [{"name": "t", "emptyDir": {}}],
                    },
                },
            },
        })
    }

    #[test]
    fn a_right_object_has_no_fault() {
        assert_eq!(shown(&deployment()), [""; 0]);
    }

    #[test]
    fn an_unknown_field_is_found_by_its_path() {
        let mut wrong = deployment();
        wrong["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Never".into();
        wrong["spec"]["replica"] = 2.into();
        let faults = shown(&wrong);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults[0].starts_with("spec.replica: is not a field"),
            "{faults:?}"
        );
        assert!(
            faults[1]
                .starts_with("spec.template.spec.containers[0].imagePulPolicy: is not a field"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_wrong_type_is_found_by_its_path() {
        let mut wrong = deployment();
        wrong["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "A", "value": 5}]);
        let faults = shown(&wrong);
        assert!(
            faults[0].starts_with("spec.template.spec.containers[0].env[0].value: invalid type")
                && faults[0].ends_with("put it in quotes"),
            "{faults:?}"
        );
    }

    #[test]
    fn secrets_and_strange_kinds_are_refused() {
        let of = |kind: &str| {
            shown(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}))
        };
        assert!(of("Secret")[0].contains("fieldgate secrets"));
        assert!(of("Node")[0].contains("a file of your own"));
    }

    #[test]
    fn dapr_objects_are_checked_as_well() {
        let component = json!({
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Component",
            "metadata": {"name": "x", "namespace": "fieldgate"},
            "spec": {"type": "pubsub.jetstream", "version": "v2", "metadata": [
                {"name": "natsURL", "value": "nats://broker:4222"},
                {"name": "nkeySeed", "secretKeyRef": {"name": "broker-x", "key": "nkey"}},
            ]},
            "scopes": ["x"],
        });
        assert_eq!(shown(&component), [""; 0]);
        let mut wrong = component.clone();
        wrong["spec"]["initTimeuot"] = "1s".into();
        let faults = shown(&wrong);
        assert!(
            faults[0].starts_with("spec.initTimeuot: ") || faults[0].contains("initTimeuot"),
            "{faults:?}"
        );
        let mut missing = component;
        missing["spec"].as_object_mut().unwrap().remove("version");
        assert!(
            shown(&missing)[0].contains("missing field `version`"),
            "{:?}",
            shown(&missing)
        );
    }
}
