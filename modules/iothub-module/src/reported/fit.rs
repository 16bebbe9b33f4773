//! Any JSON as a twin takes it: keys, strings, numbers, depth and size within limits (device guide, device twins, "Format").

use std::fmt::Write as _;

use iothub_protocol::limits::{TWIN_DEPTH, TWIN_INTEGER, TWIN_SECTION_BYTES, TWIN_STRING_BYTES};
use serde_json::{Map, Value, json};

/// Of the section's 32 KiB, some is left for what else reports under this identity, and for the hub's own counting.
const BYTES: usize = TWIN_SECTION_BYTES - 2048;
const KEY_BYTES: usize = 128;

/// A name as a key: no dots, dollars, spaces and control characters.
pub(super) fn key(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_control() || c.is_whitespace() || matches!(c, '.' | '$' | '#') {
                '_'
            } else {
                c
            }
        })
        .collect();
    cut(&plain, KEY_BYTES).to_owned()
}

/// `{"modules":{…}}` within the limits. What does not fit is left out, error lists first; such a module has `"truncated":true`.
pub(super) fn fit(mut reported: Value) -> Value {
    clean(&mut reported, 1);
    while reported.to_string().len() > BYTES {
        let Some(modules) = reported.get_mut("modules").and_then(Value::as_object_mut) else {
            break;
        };
        if !shrink(modules) {
            break;
        }
    }
    reported
}

fn clean(value: &mut Value, depth: usize) {
    match value {
        Value::Object(object) => {
            if depth > TWIN_DEPTH - 1 {
                *value = Value::String(cut(&value.to_string(), TWIN_STRING_BYTES).to_owned());
                return;
            }
            *object = std::mem::take(object)
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, mut value)| {
                    clean(&mut value, depth + 1);
                    (key(&name), value)
                })
                .collect();
        }
        Value::Array(items) => {
            if depth > TWIN_DEPTH - 1 {
                *value = Value::String(cut(&value.to_string(), TWIN_STRING_BYTES).to_owned());
                return;
            }
            items.iter_mut().for_each(|item| clean(item, depth + 1));
        }
        Value::String(text) if text.len() > TWIN_STRING_BYTES => {
            let mut shorter = cut(text, TWIN_STRING_BYTES - 3).to_owned();
            shorter.push('…');
            *text = shorter;
        }
        Value::Number(number) => {
            let outside = number.as_i64().map_or(number.is_u64(), |n| {
                n.unsigned_abs() > TWIN_INTEGER.unsigned_abs()
            });
            if outside {
                let mut text = String::new();
                // Writing into a String cannot fail.
                let _ = write!(text, "{number}");
                *value = Value::String(text);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Makes one thing smaller; false when there is nothing left to take.
fn shrink(modules: &mut Map<String, Value>) -> bool {
    let largest_errors = modules
        .values_mut()
        .filter_map(|module| Some((errors(module)?.to_owned(), module)))
        .max_by_key(|(path, module)| {
            module
                .pointer(path)
                .map_or(0, |errors| errors.to_string().len())
        });
    if let Some((path, module)) = largest_errors {
        if let Some(Value::Array(list)) = module.pointer_mut(&path) {
            list.truncate(list.len() / 2);
        }
        module["truncated"] = json!(true);
        return true;
    }
    let largest = modules
        .values_mut()
        .max_by_key(|module| module.to_string().len());
    let Some(Value::Object(module)) = largest else {
        return modules.pop_last_entry();
    };
    if module.remove("details").is_none() {
        // Nothing of the module's form is known: what is short and plain stays, if that makes it smaller.
        let before = module.len();
        module.retain(|_, value| {
            !(value.is_object()
                || value.is_array()
                || value.as_str().is_some_and(|text| text.len() > 64))
        });
        if module.len() == before {
            return modules.pop_last_entry();
        }
    }
    module.insert("truncated".to_owned(), json!(true));
    true
}

/// Where a module's status has a list of errors that is not empty.
fn errors(module: &Value) -> Option<&'static str> {
    ["/configuration/errors", "/errors", "/details/errors"]
        .into_iter()
        .find(|path| {
            module
                .pointer(path)
                .and_then(Value::as_array)
                .is_some_and(|errors| !errors.is_empty())
        })
}

trait PopLast {
    fn pop_last_entry(&mut self) -> bool;
}

impl PopLast for Map<String, Value> {
    fn pop_last_entry(&mut self) -> bool {
        let last = self.keys().next_back().cloned();
        last.is_some_and(|name| self.remove(&name).is_some())
    }
}

/// At most `bytes` bytes, cut at a character.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
