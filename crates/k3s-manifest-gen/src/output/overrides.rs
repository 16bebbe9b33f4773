//! A person's changes of generated objects: `<file>.override`.

use module_runtime::configuration::{Path, Segment};
use module_runtime::{Problem, path};
use serde_json::Value;

use crate::changes::title;
use crate::manifest_file::Object;
use crate::patch::{apply, is_removal, name, unknown_mark};
use crate::validate::{Fault, validate};
use crate::yaml::Located;

/// The documents of one override file.
#[derive(Debug)]
pub(super) struct Override {
    documents: Vec<Located>,
}

impl Override {
    /// Reads the text of an override file.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let documents = Located::parse_all(file, text)?;
        Ok(Self { documents })
    }

    /// The objects with the changes. What is wrong with a change is added to the problems, at its line.
    pub(super) fn apply(&self, objects: &[Object], problems: &mut Vec<Problem>) -> Vec<Object> {
        let mut changed: Vec<Option<Object>> = objects.iter().cloned().map(Some).collect();
        for document in &self.documents {
            let Some(position) = find(document, objects, problems) else {
                continue;
            };
            check_marks(document, document.value(), &Path::root(), problems);
            let Some(place) = changed.get_mut(position) else {
                continue;
            };
            if is_removal(document.value()) {
                *place = None;
            } else if let Some(object) = place {
                object.value = apply(&object.value, document.value());
            }
        }
        let objects: Vec<Object> = changed.into_iter().flatten().collect();
        for object in &objects {
            for fault in validate(&object.value) {
                problems.push(self.blame(&object.value, &fault));
            }
        }
        objects
    }

    /// The place in these documents that a fault of an object comes from.
    fn blame(&self, object: &Value, fault: &Fault) -> Problem {
        let message = format!("{} would not be valid: {}", title(object), fault.message);
        self.documents
            .iter()
            .filter(|document| names(document.value(), object))
            .map(|document| (document, within(document.value(), object, &fault.path)))
            .max_by_key(|(_, path)| path.segments().len())
            .map(|(document, path)| document.problem(&path, message.clone()))
            .unwrap_or_else(|| crate::invalid::of_file(title(object), message))
    }
}

/// Which object a document is for.
fn find(document: &Located, objects: &[Object], problems: &mut Vec<Problem>) -> Option<usize> {
    let value = document.value();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    for (pointer, path) in [
        ("/apiVersion", path!["apiVersion"]),
        ("/kind", path!["kind"]),
        ("/metadata/name", path!["metadata", "name"]),
    ] {
        if text(pointer).is_none() {
            problems.push(document.problem(
                &path,
                "is missing; each document of an override says which object it changes: apiVersion, kind and metadata.name",
            ));
            return None;
        }
    }
    let found = objects
        .iter()
        .position(|object| names(value, &object.value));
    if found.is_none() {
        let known: Vec<String> = objects
            .iter()
            .map(|object| {
                let version = object.value.get("apiVersion").and_then(Value::as_str);
                format!("{} {}", version.unwrap_or("?"), title(&object.value))
            })
            .collect();
        problems.push(document.problem(
            &path!["metadata", "name"],
            format!(
                "there is no {} {} to change in this file; there are: {}",
                text("/apiVersion").unwrap_or_default(),
                title(value),
                known.join(", ")
            ),
        ));
    }
    found
}

/// Whether a patch is for an object. Its namespace may be left out.
fn names(patch: &Value, object: &Value) -> bool {
    let same = |pointer: &str| patch.pointer(pointer) == object.pointer(pointer);
    same("/apiVersion")
        && same("/kind")
        && same("/metadata/name")
        && (patch.pointer("/metadata/namespace").is_none() || same("/metadata/namespace"))
}

fn check_marks(document: &Located, value: &Value, at: &Path, problems: &mut Vec<Problem>) {
    if let Some(mark) = unknown_mark(value) {
        problems.push(document.problem(
            &at.join(crate::patch::MARK),
            format!("{mark} means nothing; delete and replace do"),
        ));
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_marks(document, item, &at.join(index), problems);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                check_marks(document, item, &at.join(key), problems);
            }
        }
        _ => {}
    }
}

/// As much of an object's path as a patch has, as the patch has it: its lists may hold fewer items in other places.
fn within(patch: &Value, object: &Value, path: &Path) -> Path {
    let (mut patch, mut object) = (Some(patch), Some(object));
    let mut found = Path::root();
    for segment in path.segments() {
        let (in_patch, in_object) = (patch, object);
        object = match segment {
            Segment::Key(key) => in_object.and_then(|value| value.get(key)),
            Segment::Index(index) => in_object.and_then(|value| value.get(index)),
        };
        let step: Option<(Segment, &Value)> = match (segment, in_patch) {
            (Segment::Key(key), Some(Value::Object(map))) => {
                map.get(key).map(|value| (segment.clone(), value))
            }
            (Segment::Index(index), Some(Value::Array(items))) => {
                let by_name = object
                    .and_then(name)
                    .and_then(|wanted| items.iter().position(|item| name(item) == Some(wanted)));
                let index = by_name.unwrap_or(*index);
                items.get(index).map(|value| (Segment::Index(index), value))
            }
            _ => None,
        };
        let Some((segment, value)) = step else {
            break;
        };
        found = found.join(segment);
        patch = Some(value);
    }
    found
}
