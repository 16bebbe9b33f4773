//! Changes of objects: applied and found.
//!
//! A patch is written like the object it changes. Mappings are merged, `null` removes a key. A list whose items are mappings with different
//! `name`s is merged by name; every other list is replaced. Two marks say more: an item `{name: x, $patch: delete}` removes that item, and
//! a first item `$patch: replace` (or that key in a mapping) replaces the list (or mapping) instead of merging it.

use serde_json::{Map, Value};

/// The key of a mark.
pub(crate) const MARK: &str = "$patch";
const DELETE: &str = "delete";
const REPLACE: &str = "replace";

/// `base` changed by `patch`.
pub fn apply(base: &Value, patch: &Value) -> Value {
    match patch {
        Value::Object(changes) => {
            let mut result = match base {
                Value::Object(map) if mark(patch) != Some(REPLACE) => map.clone(),
                _ => Map::new(),
            };
            for (key, change) in changes.iter().filter(|(key, _)| *key != MARK) {
                if change.is_null() {
                    result.remove(key);
                } else {
                    let changed = apply(result.get(key).unwrap_or(&Value::Null), change);
                    result.insert(key.clone(), changed);
                }
            }
            Value::Object(result)
        }
        Value::Array(items) => Value::Array(apply_list(base, items)),
        scalar => scalar.clone(),
    }
}

fn apply_list(base: &Value, items: &[Value]) -> Vec<Value> {
    let fresh = |items: &[Value]| items.iter().map(|item| apply(&Value::Null, item)).collect();
    if let Some((first, rest)) = items.split_first()
        && mark(first) == Some(REPLACE)
        && first.get("name").is_none()
    {
        return fresh(rest);
    }
    let existing: &[Value] = match base {
        Value::Array(existing) => existing,
        _ => &[],
    };
    if items.is_empty() || !are_named(items) || !are_named(existing) {
        return fresh(items);
    }
    let mut result = existing.to_vec();
    for item in items {
        let position = result.iter().position(|other| name(other) == name(item));
        match (position, mark(item)) {
            (Some(position), Some(DELETE)) => {
                result.remove(position);
            }
            (None, Some(DELETE)) => {}
            (Some(position), _) => {
                if let Some(place) = result.get_mut(position) {
                    *place = apply(place, item);
                }
            }
            (None, _) => result.push(apply(&Value::Null, item)),
        }
    }
    result
}

/// The smallest patch that makes `to` of `from`; none where they are the same.
///
/// Neither may hold `null` in a mapping or a key `$patch`: a patch cannot write these.
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    Some(match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                match old.get(key) {
                    None => drop(patch.insert(key.clone(), value.clone())),
                    Some(before) => {
                        if let Some(change) = diff(before, value) {
                            patch.insert(key.clone(), change);
                        }
                    }
                }
            }
            Value::Object(patch)
        }
        (Value::Array(old), Value::Array(new)) => diff_list(from, old, to, new),
        _ => to.clone(),
    })
}

fn diff_list(from: &Value, old: &[Value], to: &Value, new: &[Value]) -> Value {
    let find = |items: &[Value], wanted: &Value| {
        items
            .iter()
            .find(|item| name(item) == name(wanted))
            .cloned()
    };
    if !old.is_empty() && !new.is_empty() && are_named(old) && are_named(new) {
        let mut patch = Vec::new();
        for gone in old.iter().filter(|item| find(new, item).is_none()) {
            patch.push(serde_json::json!({"name": name(gone), MARK: DELETE}));
        }
        for item in new {
            let change = match find(old, item) {
                None => Some(item.clone()),
                Some(before) => diff(&before, item),
            };
            if let Some(Value::Object(mut change)) = change {
                change.insert("name".to_owned(), name(item).into());
                patch.push(Value::Object(change));
            }
        }
        let patch = Value::Array(patch);
        // Another order of the same items cannot be said by name.
        if apply(from, &patch) == *to {
            return patch;
        }
    }
    if apply(from, to) == *to {
        return to.clone();
    }
    let mut patch = vec![serde_json::json!({MARK: REPLACE})];
    patch.extend_from_slice(new);
    Value::Array(patch)
}

/// Whether a patch of a whole object removes it.
pub(crate) fn is_removal(patch: &Value) -> bool {
    mark(patch) == Some(DELETE)
}

/// The mark of a patch that means nothing, if it has one.
pub(crate) fn unknown_mark(patch: &Value) -> Option<&Value> {
    patch
        .get(MARK)
        .filter(|mark| !matches!(mark.as_str(), Some(DELETE | REPLACE)))
}

fn mark(patch: &Value) -> Option<&str> {
    patch.get(MARK).and_then(Value::as_str)
}

pub(crate) fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

/// Whether a list can be merged by name: each item has one, and no two the same.
fn are_named(items: &[Value]) -> bool {
    let mut names: Vec<&str> = items.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    names.len() == items.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn named_things_merge_and_others_are_replaced() {
        let base = json!({
            "containers": [{"name": "a", "image": "x", "args": ["1", "2"]}, {"name": "b"}],
            "replicas": 1,
            "labels": {"k": "v", "l": "w"},
        });
        let patch = json!({
            "containers": [
                {"name": "a", "args": ["3"]},
                {"name": "b", "$patch": "delete"},
                {"name": "c", "image": "z"},
            ],
            "labels": {"k": null},
        });
        assert_eq!(
            apply(&base, &patch),
            json!({
                "containers": [{"name": "a", "image": "x", "args": ["3"]}, {"name": "c", "image": "z"}],
                "replicas": 1,
                "labels": {"l": "w"},
            })
        );
    }

    #[test]
    fn lists_and_mappings_can_be_replaced_as_a_whole() {
        let base = json!({"env": [{"name": "a", "value": "1"}], "limits": {"cpu": "1"}});
        let patch = json!({
            "env": [{"$patch": "replace"}, {"name": "b", "value": "2"}],
            "limits": {"$patch": "replace", "memory": "1Gi"},
        });
        assert_eq!(
            apply(&base, &patch),
            json!({"env": [{"name": "b", "value": "2"}], "limits": {"memory": "1Gi"}})
        );
        assert_eq!(apply(&base, &json!({"env": []}))["env"], json!([]));
    }

    #[test]
    fn the_smallest_patch_names_only_what_differs() {
        let from = json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"memory": "64Mi", "cpu": "1"}}},
            {"name": "b", "image": "x"},
        ]}});
        let mut to = from.clone();
        to["spec"]["containers"][0]["resources"]["limits"]["memory"] = "128Mi".into();
        assert_eq!(
            diff(&from, &to),
            Some(json!({"spec": {"containers": [
                {"name": "a", "resources": {"limits": {"memory": "128Mi"}}},
            ]}}))
        );
        assert_eq!(diff(&from, &from), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..4i64).prop_map(Value::from),
            "[a-c]".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            let entries = prop::collection::btree_map("[a-d]|name", inner.clone(), 0..4);
            let item = (
                "[a-d]",
                prop::collection::btree_map("[a-d]", inner.clone(), 0..3),
            )
                .prop_map(|(name, map)| {
                    let mut map: Map<String, Value> = map.into_iter().collect();
                    map.insert("name".to_owned(), name.into());
                    Value::Object(map)
                });
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                prop::collection::vec(item, 0..5).prop_map(Value::from),
                entries.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_found_patch_makes_what_it_was_found_from((from, to) in (values(), values())) {
            match diff(&from, &to) {
                None => prop_assert_eq!(from, to),
                Some(patch) => prop_assert_eq!(apply(&from, &patch), to, "{}", patch),
            }
        }

        #[test]
        fn applying_twice_is_applying_once((from, to) in (values(), values())) {
            if let Some(patch) = diff(&from, &to) {
                let once = apply(&from, &patch);
                prop_assert_eq!(apply(&once, &patch), once);
            }
        }
    }
}
