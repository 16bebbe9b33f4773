//! Violated `anyOf` and `oneOf`: finds the alternative that was meant, and says what is wrong with that one.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::explain::{Sentence, instance_path, must_be, not_a_choice, sentences};
use super::path::Path;
use super::repair::Mend;
use super::words::{choices, expected, is_null, list, meant, resolve};

/// One alternative and what is wrong with the instance by it.
struct Branch<'s, 'e> {
    schema: &'s Value,
    errors: &'e [ValidationError<'static>],
}

/// The sentences of a violated `anyOf` or `oneOf` in `schema`; `context` has the violations of each alternative.
pub(crate) fn explain<'s>(
    root: &'s Value,
    schema: &'s Value,
    instance: &Value,
    path: &Path,
    context: &[Vec<ValidationError<'static>>],
) -> Vec<Sentence<'s>> {
    let alternatives = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|keyword| schema.get(keyword)?.as_array())
        .find(|branches| branches.len() == context.len());
    let Some(alternatives) = alternatives else {
        return vec![Sentence::at(
            path.clone(),
            must_be(&expected(root, schema), instance),
            schema,
        )];
    };
    let branches: Vec<Branch<'_, '_>> = alternatives
        .iter()
        .zip(context)
        .filter(|(schema, _)| !is_null(schema))
        .map(|(schema, errors)| Branch {
            schema: resolve(root, schema),
            errors,
        })
        .collect();

    if let [only] = branches.as_slice() {
        return of_branch(root, only);
    }
    if choices(root, schema).is_some() {
        return vec![Sentence::at(
            path.clone(),
            not_a_choice(root, schema, instance),
            schema,
        )];
    }
    by_tag(root, schema, &branches, instance, path)
        .or_else(|| by_key(root, schema, &branches, instance, path))
        .or_else(|| by_type(root, &branches, path))
        .unwrap_or_else(|| {
            let wanted: Vec<String> = branches
                .iter()
                .map(|branch| expected(root, branch.schema))
                .collect();
            vec![Sentence::at(
                path.clone(),
                must_be(&wanted.join(" or "), instance),
                schema,
            )]
        })
}

fn of_branch<'s>(root: &'s Value, branch: &Branch<'_, '_>) -> Vec<Sentence<'s>> {
    branch
        .errors
        .iter()
        .flat_map(|error| sentences(root, error))
        .collect()
}

/// Alternatives told apart by a key with a constant (serde's internally tagged enums).
fn by_tag<'s>(
    root: &'s Value,
    schema: &'s Value,
    branches: &[Branch<'_, '_>],
    instance: &Value,
    path: &Path,
) -> Option<Vec<Sentence<'s>>> {
    let object = instance.as_object()?;
    let constants = |branch: &Branch<'_, '_>| -> Vec<(String, Value)> {
        let properties = branch.schema.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .filter_map(|(key, schema)| Some((key.clone(), schema.get("const")?.clone())))
            .collect()
    };
    let (tag, _) = constants(branches.first()?).into_iter().find(|(tag, _)| {
        branches
            .iter()
            .all(|branch| constants(branch).iter().any(|(key, _)| key == tag))
    })?;
    let names: Vec<Value> = branches
        .iter()
        .flat_map(&constants)
        .filter_map(|(key, value)| (key == tag).then_some(value))
        .collect();
    let Some(written) = object.get(&tag) else {
        let wanted = super::words::one_of(&names);
        let message = format!("the key \"{tag}\" is missing; add it: {wanted}");
        return Some(vec![Sentence::at(path.clone(), message, schema)]);
    };
    let chosen = branches.iter().find(|branch| {
        constants(branch)
            .iter()
            .any(|(key, value)| *key == tag && value == written)
    });
    Some(match chosen {
        Some(branch) => of_branch(root, branch),
        None => {
            let message = not_a_choice(root, &serde_json::json!({ "enum": names }), written);
            vec![Sentence {
                path: path.join(tag),
                mend: Mend::value(path, schema),
                at_key: false,
                message,
            }]
        }
    })
}

/// Alternatives that are each a mapping of one key (serde's externally tagged enums), unit variants as texts among them.
fn by_key<'s>(
    root: &'s Value,
    schema: &'s Value,
    branches: &[Branch<'_, '_>],
    instance: &Value,
    path: &Path,
) -> Option<Vec<Sentence<'s>>> {
    let mut names: Vec<String> = Vec::new();
    let mut keyed: Vec<(&str, &Branch<'_, '_>)> = Vec::new();
    for branch in branches {
        if let Some(values) = choices(root, branch.schema) {
            names.extend(values.iter().filter_map(Value::as_str).map(str::to_owned));
            continue;
        }
        let mut required = branch.schema.get("required")?.as_array()?.iter();
        let key = required.next()?.as_str()?;
        if required.next().is_some() {
            return None;
        }
        keyed.push((key, branch));
        names.push(key.to_owned());
    }
    let wanted = list(&names);
    let message = match instance {
        Value::Object(object) => {
            let given: Vec<_> = keyed
                .iter()
                .filter(|(key, _)| object.contains_key(*key))
                .collect();
            match given.as_slice() {
                [(_, branch)] => return Some(of_branch(root, branch)),
                [] => {
                    let hint = object
                        .keys()
                        .find_map(|written| meant(written, names.iter().map(String::as_str)))
                        .map(|name| format!("; did you mean \"{name}\"?"))
                        .unwrap_or_default();
                    format!("has none of the keys {wanted}; give one{hint}")
                }
                several => {
                    let given: Vec<String> =
                        several.iter().map(|(key, _)| (*key).to_owned()).collect();
                    format!(
                        "has {} together; leave only one of them",
                        given.join(" and ")
                    )
                }
            }
        }
        other => {
            let hint = other
                .as_str()
                .and_then(|written| meant(written, names.iter().map(String::as_str)))
                .map(|name| format!("; did you mean {name}?"))
                .unwrap_or_default();
            format!("{}{hint}", must_be(&format!("one of {wanted}"), other))
        }
    };
    Some(vec![Sentence::at(path.clone(), message, schema)])
}

/// The alternatives whose type fits the instance; of several the one with the fewest violations, if it is one.
fn by_type<'s>(
    root: &'s Value,
    branches: &[Branch<'_, '_>],
    path: &Path,
) -> Option<Vec<Sentence<'s>>> {
    let mut fitting: Vec<&Branch<'_, '_>> = branches
        .iter()
        .filter(|branch| {
            !branch.errors.is_empty()
                && !branch.errors.iter().any(|error| {
                    let of_the_value_itself = matches!(
                        error.kind(),
                        Kind::Type { .. } | Kind::Enum { .. } | Kind::Constant { .. }
                    );
                    of_the_value_itself && instance_path(error) == *path
                })
        })
        .collect();
    fitting.sort_by_key(|branch| branch.errors.len());
    match fitting.as_slice() {
        [only] => Some(of_branch(root, only)),
        [first, second, ..] if first.errors.len() < second.errors.len() => {
            Some(of_branch(root, first))
        }
        _ => None,
    }
}
