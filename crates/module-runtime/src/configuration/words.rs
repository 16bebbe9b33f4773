//! The words of explanations: what a schema wants, what a document has, which key was meant.

use std::borrow::Cow;

use serde_json::Value;

/// Longer lists of choices are cut.
const MOST_CHOICES: usize = 16;

/// The part of a schema that a violation's pointer leads to; references on the way are followed.
pub(crate) fn schema_at<'s>(root: &'s Value, pointer: &str) -> Option<&'s Value> {
    let mut at = root;
    for step in pointer.split('/').skip(1) {
        if step == "$ref" {
            at = resolve(root, at);
            continue;
        }
        let key = step.replace("~1", "/").replace("~0", "~");
        let next = |schema: &'s Value| match schema {
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(&key),
        };
        at = next(at).or_else(|| next(resolve(root, at)))?;
    }
    Some(at)
}

/// Follows `$ref` as far as it goes.
pub(crate) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    // Bounded: a reference to itself would never end.
    for _ in 0..16 {
        let target = at
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|pointer| root.pointer(pointer));
        match target {
            Some(target) => at = target,
            None => break,
        }
    }
    at
}

/// What a schema wants, to follow "must be".
pub(crate) fn expected(root: &Value, schema: &Value) -> String {
    if let Some(words) = schema.get("x-expected").and_then(Value::as_str) {
        return words.to_owned();
    }
    let schema = resolve(root, schema);
    if let Some(words) = schema.get("x-expected").and_then(Value::as_str) {
        return words.to_owned();
    }
    if let Some(choices) = choices(root, schema) {
        return one_of(&choices);
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
            let words: Vec<String> = branches
                .iter()
                .filter(|branch| !is_null(branch))
                .map(|branch| expected(root, branch))
                .collect();
            return words.join(" or ");
        }
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words: Vec<String> = types
        .into_iter()
        .filter(|kind| *kind != "null")
        .map(|kind| of_type(kind, schema))
        .collect();
    if words.is_empty() {
        "a value".to_owned()
    } else {
        words.join(" or ")
    }
}

fn of_type(kind: &str, schema: &Value) -> String {
    match kind {
        "string" => "a text".to_owned(),
        "integer" => format!("a whole number{}", range(schema)),
        "number" => format!("a number{}", range(schema)),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) if !properties.is_empty() => {
                let keys: Vec<String> = properties.keys().cloned().collect();
                format!("a mapping with the keys {}", list(&keys))
            }
            _ => "a mapping".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// The bounds of a number, with a space before.
pub(crate) fn range(schema: &Value) -> String {
    let of = |key| schema.get(key).filter(|bound| !is_type_bound(bound));
    let (least, most) = (of("minimum"), of("maximum"));
    let above = of("exclusiveMinimum");
    let below = of("exclusiveMaximum");
    match (least, above, most, below) {
        (Some(least), _, Some(most), _) => format!(" from {least} to {most}"),
        (Some(least), _, None, Some(below)) => format!(" from {least} to less than {below}"),
        (Some(least), _, None, None) => format!(" of at least {least}"),
        (None, Some(above), Some(most), _) => format!(" greater than {above} up to {most}"),
        (None, Some(above), None, Some(below)) => format!(" between {above} and {below}"),
        (None, Some(above), None, None) => format!(" greater than {above}"),
        (None, None, Some(most), _) => format!(" of at most {most}"),
        (None, None, None, Some(below)) => format!(" less than {below}"),
        (None, None, None, None) => String::new(),
    }
}

/// Bounds of 64 bit types say nothing to a person.
fn is_type_bound(bound: &Value) -> bool {
    bound.as_i64() == Some(i64::MIN)
        || bound.as_i64() == Some(i64::MAX)
        || bound.as_u64() == Some(u64::MAX)
}

/// The values of a schema that lists them all: an enum, a constant, or alternatives of such.
pub(crate) fn choices(root: &Value, schema: &Value) -> Option<Vec<Value>> {
    let schema = resolve(root, schema);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(
            values
                .iter()
                .filter(|value| !value.is_null())
                .cloned()
                .collect(),
        );
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value.clone()]);
    }
    let branches = schema
        .get("oneOf")
        .or_else(|| schema.get("anyOf"))
        .and_then(Value::as_array)?;
    let mut all = Vec::new();
    for branch in branches.iter().filter(|branch| !is_null(branch)) {
        all.extend(choices(root, branch)?);
    }
    Some(all)
}

/// Whether a branch is only there for what may be left out.
pub(crate) fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// `one of a, b or c`.
pub(crate) fn one_of(choices: &[Value]) -> String {
    let words: Vec<String> = choices.iter().map(plain).collect();
    match words.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", list(&words)),
    }
}

/// `a, b and c`, cut when it is long.
pub(crate) fn list(words: &[String]) -> String {
    match words.get(..MOST_CHOICES) {
        Some(first) if words.len() > MOST_CHOICES => {
            format!("{}, … ({} in all)", first.join(", "), words.len())
        }
        _ => words.join(", "),
    }
}

/// A choice as it is written in YAML.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as the reader wrote it, short.
pub(crate) fn shown(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
        Value::Bool(flag) => flag.to_string().into(),
        Value::Number(number) => format!("the number {number}").into(),
        Value::String(text) if text.chars().count() > 60 => {
            let cut: String = text.chars().take(57).collect();
            format!("the text {:?}", format!("{cut}…")).into()
        }
        Value::String(text) => format!("the text {text:?}").into(),
    }
}

/// The one of the names that was probably meant, if one is near.
pub(crate) fn meant<'n>(
    written: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let simple = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let written = simple(written);
    let length = written.chars().count();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &simple(name)), name))
        .filter(|(distance, name)| {
            let longer = length.max(name.chars().count());
            // A third of the letters may be wrong, but not all of a short word.
            *distance <= (longer / 3).max(1) && *distance < longer
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn near_names_are_meant() {
        let keys = ["unit", "baud_rate", "max_registers"];
        assert_eq!(meant("unti", keys), Some("unit"));
        assert_eq!(meant("baudrate", keys), Some("baud_rate"));
        assert_eq!(meant("maxRegisters", keys), Some("max_registers"));
        assert_eq!(meant("colour", keys), None);
        assert_eq!(meant("x", ["y"]), None);
    }

    #[test]
    fn expectations_read_well() {
        let root = json!({"$defs": {"Parity": {"oneOf": [{"const": "even"}, {"const": "odd"}]}}});
        let of = |schema: Value| expected(&root, &schema);
        assert_eq!(of(json!({"$ref": "#/$defs/Parity"})), "one of even, odd");
        assert_eq!(
            of(json!({"type": ["integer", "null"], "minimum": 1, "maximum": 247})),
            "a whole number from 1 to 247"
        );
        assert_eq!(
            of(json!({"anyOf": [{"$ref": "#/$defs/Parity"}, {"type": "null"}]})),
            "one of even, odd"
        );
        assert_eq!(
            of(json!({"type": "number", "exclusiveMinimum": 0})),
            "a number greater than 0"
        );
        assert_eq!(of(json!(true)), "a value");
    }
}
