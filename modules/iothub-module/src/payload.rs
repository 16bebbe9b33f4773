//! Bytes of any kind as JSON, for places where only JSON fits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// JSON as it is, nothing as `null`, other text as `{"text": …}`, anything else as `{"base64": …}`.
#[must_use]
pub fn to_json(bytes: &[u8]) -> Value {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Value::Null;
    }
    if let Ok(value) = serde_json::from_slice(bytes) {
        return value;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_form() {
        assert_eq!(to_json(b" "), Value::Null);
        assert_eq!(to_json(b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(to_json(b"not found"), json!({"text": "not found"}));
        assert_eq!(to_json(b"\xff\x00"), json!({"base64": "/wA="}));
    }
}
