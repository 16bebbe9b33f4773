//! What is answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::VERSION;
use crate::fault::Fault;

/// One answer, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

impl From<Result<Value, Fault>> for Answer {
    fn from(result: Result<Value, Fault>) -> Self {
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            version: VERSION,
            result,
            error,
        }
    }
}

impl Answer {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none, in words.
    pub fn parse(bytes: &[u8]) -> Result<Result<Value, Fault>, String> {
        if bytes.is_empty() {
            return Err("the host closed the connection without an answer".to_owned());
        }
        let answer: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("not an answer: {error}"))?;
        match answer {
            Self {
                error: Some(error), ..
            } => Ok(Err(error)),
            Self { version, .. } if version != VERSION => Err(format!(
                "the host speaks version {version} of the protocol, not {VERSION}"
            )),
            Self { result, .. } => Ok(Ok(result.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fault::Code;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let fault = Fault::new(Code::WrongName, "this is gate-7").at("name");
        for result in [Ok(json!({"healthy": true})), Ok(json!(null)), Err(fault)] {
            let text = serde_json::to_vec(&Answer::from(result.clone())).unwrap();
            assert_eq!(Answer::parse(&text).unwrap(), result);
        }
        for wrong in ["", "x", r#"{"version": 2, "result": 1}"#] {
            assert!(Answer::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
