//! What differs between two sets of objects, field by field, for people.

use std::fmt;

use serde_json::Value;

use crate::patch::name;

/// The most characters of a value that are shown.
const MOST: usize = 60;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `Deployment modbus-reader`.
    pub object: String,
    /// `spec.template.spec.containers[modbus-reader].image`; empty for the object as a whole.
    pub field: String,
    /// What it was, short; none: it was not there.
    pub before: Option<String>,
    /// What it is now, short; none: it is gone.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, ": {before} → {after}"),
            (Some(_), None) if self.field.is_empty() => f.write_str(" removed"),
            (None, Some(_)) if self.field.is_empty() => f.write_str(" added"),
            (Some(before), None) => write!(f, ": {before} removed"),
            (None, Some(after)) => write!(f, ": {after} added"),
            (None, None) => Ok(()),
        }
    }
}

/// What an object is called in messages: `Deployment modbus-reader`.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("?")
    };
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

/// Whether two values are the same object, at whatever state.
pub(crate) fn is_same_object(left: &Value, right: &Value) -> bool {
    [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/metadata/namespace",
    ]
    .iter()
    .all(|pointer| left.pointer(pointer) == right.pointer(pointer))
}

/// Every field that differs between two sets of objects.
pub(crate) fn changes<'v>(
    before: impl IntoIterator<Item = &'v Value>,
    after: impl IntoIterator<Item = &'v Value>,
) -> Vec<Change> {
    let before: Vec<&Value> = before.into_iter().collect();
    let after: Vec<&Value> = after.into_iter().collect();
    let find = |set: &[&'v Value], object: &Value| {
        set.iter().copied().find(|one| is_same_object(one, object))
    };
    let mut found = Vec::new();
    for object in &before {
        let now = find(&after, object);
        compare(&title(object), "", Some(object), now, &mut found);
    }
    for object in &after {
        if find(&before, object).is_none() {
            compare(&title(object), "", None, Some(object), &mut found);
        }
    }
    found
}

fn compare(
    object: &str,
    field: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let field = match field {
                    "" => key.clone(),
                    above => format!("{above}.{key}"),
                };
                compare(object, &field, old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if has_names(old) && has_names(new) => {
            let count = found.len();
            let with = |items: &[Value], wanted: &Value| {
                items
                    .iter()
                    .find(|item| name(item) == name(wanted))
                    .cloned()
            };
            for item in old {
                let field = format!("{field}[{}]", name(item).unwrap_or_default());
                let now = with(new, item);
                compare(object, &field, Some(item), now.as_ref(), found);
            }
            for item in new.iter().filter(|item| with(old, item).is_none()) {
                let field = format!("{field}[{}]", name(item).unwrap_or_default());
                compare(object, &field, None, Some(item), found);
            }
            if found.len() == count {
                found.push(Change {
                    object: object.to_owned(),
                    field: field.to_owned(),
                    before: Some("one order".to_owned()),
                    after: Some("another order".to_owned()),
                });
            }
        }
        (Some(Value::String(old)), Some(Value::String(new)))
            if old.contains('\n') && new.contains('\n') =>
        {
            found.push(first_line(object, field, old, new));
        }
        (before, after) => found.push(Change {
            object: object.to_owned(),
            field: field.to_owned(),
            before: before.map(short),
            after: after.map(short),
        }),
    }
}

/// Where two documents begin to differ.
fn first_line(object: &str, field: &str, old: &str, new: &str) -> Change {
    let same = old
        .lines()
        .zip(new.lines())
        .take_while(|(old, new)| old == new)
        .count();
    let line = |text: &str| text.lines().nth(same).map(|line| short(&line.into()));
    Change {
        object: object.to_owned(),
        field: format!("{field} line {}", same + 1),
        before: line(old),
        after: line(new),
    }
}

fn has_names(items: &[Value]) -> bool {
    items.iter().all(|item| name(item).is_some())
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    let cut: String = text.chars().take(MOST - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_differ_from_a_line_on() {
        let object = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": text}});
        let found = changes(&[object("a: 1\nb: 2\n")], &[object("a: 1\nb: 3\nc: 4\n")]);
        assert_eq!(
            found[0].to_string(),
            "ConfigMap x: data.k line 2: \"b: 2\" → \"b: 3\""
        );
    }

    #[test]
    fn changes_name_the_field_as_people_do() {
        let object = |memory: &str, kind: &str| {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": {
                "containers": [{"name": "c", "limits": {"memory": memory}}], "args": ["a"]}})
        };
        let before = [object("64Mi", "Pod"), object("1Mi", "Old")];
        let after = [object("128Mi", "Pod"), object("1Mi", "New")];
        let shown: Vec<String> = changes(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "Pod x: spec.containers[c].limits.memory: \"64Mi\" → \"128Mi\"",
                "Old x removed",
                "New x added",
            ]
        );
    }
}
