//! Objects as block YAML with literal texts: what a person would write.

use serde_json::{Map, Value};

use super::order::ordered;
use super::plain::{is_printable, scalar};

/// A value as YAML, ending with a line break. Keys come in the order that is customary for Kubernetes objects, texts of several lines as
/// literal blocks; whoever reads it back gets the same value.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0, false),
        other => {
            out.push_str(&flat(other));
            out.push('\n');
        }
    }
    out
}

/// What a value follows on its line.
#[derive(Debug, Clone, Copy)]
enum After {
    Key,
    Dash,
}

fn mapping(out: &mut String, map: &Map<String, Value>, indent: usize, mut is_inline: bool) {
    for (key, value) in ordered(map) {
        if !is_inline {
            spaces(out, indent);
        }
        is_inline = false;
        out.push_str(&scalar(key));
        out.push(':');
        node(out, value, indent, After::Key);
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize, mut is_inline: bool) {
    for item in items {
        if !is_inline {
            spaces(out, indent);
        }
        is_inline = false;
        out.push('-');
        node(out, item, indent, After::Dash);
    }
}

fn node(out: &mut String, value: &Value, indent: usize, after: After) {
    match (value, after) {
        (Value::Object(map), After::Key) if !map.is_empty() => {
            out.push('\n');
            mapping(out, map, indent + 2, false);
        }
        (Value::Object(map), After::Dash) if !map.is_empty() => {
            out.push(' ');
            mapping(out, map, indent + 2, true);
        }
        (Value::Array(items), After::Key) if !items.is_empty() => {
            out.push('\n');
            sequence(out, items, indent, false);
        }
        (Value::Array(items), After::Dash) if !items.is_empty() => {
            out.push(' ');
            sequence(out, items, indent + 2, true);
        }
        (Value::String(text), _) if is_literal(text) => literal(out, text, indent + 2),
        (other, _) => {
            out.push(' ');
            out.push_str(&flat(other));
            out.push('\n');
        }
    }
}

/// What fits on one line.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // As in JSON: null, true, 3, 0.5, {} and [].
        other => other.to_string(),
    }
}

/// Whether a text can stand as a literal block: its first line tells the indentation, so it must not begin with white space.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(char::is_whitespace)
        && text
            .chars()
            .all(|letter| letter == '\n' || is_printable(letter))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    out.push_str(match breaks {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    for line in body.split('\n') {
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
    for _ in 1..breaks {
        out.push('\n');
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Located;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn objects_read_well() {
        let value = json!({
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": "a", "labels": {}},
            "data": {"a.yaml": "links:\n  - name: x\n\n# end\n", "port": "6000", "short": "a\nb"},
            "list": [{"name": "x", "args": ["-c", "/f"]}, [1, [2]], []],
        });
        assert_eq!(
            emit(&value),
            "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  labels: {}
list:
- name: x
  args:
  - \"-c\"
  - /f
- - 1
  - - 2
- []
data:
  port: \"6000\"
  a.yaml: |
    links:
      - name: x

    # end
  short: |-
    a
    b
"
        );
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9./:# -]{0,12}",
            "[ -~\n\t]{0,40}",
            "(  ?[a-z:#|>-]{0,6}\n{0,3}){0,6}",
            "\\PC{0,10}",
            any::<String>(),
            Just("yes".to_owned()),
            Just("0o17".to_owned()),
            Just("1_000".to_owned()),
            Just("---".to_owned()),
            Just("a\n---\n...\nb\n\n".to_owned()),
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            texts().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(texts(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        /// Two readers that share nothing: YAML 1.1 as Kubernetes reads it, and YAML 1.2.
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let text = emit(&json!({"value": value}));
            let other: Value = serde_yaml_ng::from_str(&text)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&other["value"], &value, "\n{}", text);
            let own = Located::parse("f", &text)
                .map_err(|problem| TestCaseError::fail(format!("{problem}\n{text}")))?;
            prop_assert_eq!(&own.value()["value"], &value, "\n{}", text);
        }
    }
}
