//! Twins: documents, merge patches, version order and limits.
//!
//! Source: device guide, "Understand and use device twins in IoT Hub".

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::limits::{
    TWIN_DEPTH, TWIN_INTEGER, TWIN_KEY_BYTES, TWIN_SECTION_BYTES, TWIN_STRING_BYTES,
};

const VERSION: &str = "$version";

/// Both sections of a twin as a device sees them: without tags and without metadata. The sections hold no `$version`.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinDocument {
    pub desired: Value,
    pub desired_version: u64,
    pub reported: Value,
    pub reported_version: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    #[error("the twin is not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the twin lacks {0}")]
    Missing(&'static str),
    #[error("twin patch: {path}: {problem}")]
    Limit { path: String, problem: String },
}

impl TwinDocument {
    /// Reads the answer to a GET: `{"desired":{…,"$version":n},"reported":{…,"$version":m}}`.
    pub fn parse(payload: &[u8]) -> Result<Self, TwinError> {
        #[derive(Deserialize)]
        struct Wire {
            desired: Option<Map<String, Value>>,
            #[serde(default)]
            reported: Map<String, Value>,
        }
        let wire: Wire = serde_json::from_slice(payload)?;
        let mut desired = wire
            .desired
            .ok_or(TwinError::Missing("its section desired"))?;
        let mut reported = wire.reported;
        let desired_version =
            take_version(&mut desired).ok_or(TwinError::Missing("desired.$version"))?;
        let reported_version = take_version(&mut reported).unwrap_or(0);
        for section in [&mut desired, &mut reported] {
            section.remove("$metadata");
        }
        Ok(Self {
            desired: desired.into(),
            desired_version,
            reported: reported.into(),
            reported_version,
        })
    }

    /// The answer to a GET.
    pub fn to_json(&self) -> Value {
        json!({"desired": with_version(&self.desired, self.desired_version), "reported": with_version(&self.reported, self.reported_version)})
    }
}

/// Reads a desired-properties notification: the patch without `$version`, and the version from the payload or else from the topic.
pub fn parse_desired(
    payload: &[u8],
    topic_version: Option<u64>,
) -> Result<(Value, u64), TwinError> {
    let mut patch: Map<String, Value> = serde_json::from_slice(payload)?;
    let version = take_version(&mut patch)
        .or(topic_version)
        .ok_or(TwinError::Missing("$version"))?;
    patch.remove("$metadata");
    Ok((patch.into(), version))
}

/// A section with its version in it, as the wire carries it.
pub fn with_version(section: &Value, version: u64) -> Value {
    let mut section = section.as_object().cloned().unwrap_or_default();
    section.insert(VERSION.to_owned(), version.into());
    section.into()
}

fn take_version(section: &mut Map<String, Value>) -> Option<u64> {
    section.remove(VERSION)?.as_u64()
}

/// Applies a JSON merge patch (RFC 7396): members replace, objects merge, `null` deletes.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Follows the versions of the desired section, so that a lost notification is noticed. Notifications are QoS 0 and only sent while
/// connected, therefore: GET after each connect, and again when a patch jumps (device guide, "Device reconnection flow").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DesiredTracker {
    version: Option<u64>,
}

/// What to do with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionStep {
    /// The next version: apply the patch.
    Next,
    /// Already known: drop it.
    Stale,
    /// One or more are missing, or nothing is known yet: GET the whole twin.
    Gap,
}

impl DesiredTracker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The whole section was read at `version`.
    pub fn complete(&mut self, version: u64) {
        self.version = Some(version);
    }

    /// A notification with `version` arrived. Only [`VersionStep::Next`] moves the tracker.
    pub fn step(&mut self, version: u64) -> VersionStep {
        match self.version {
            None => VersionStep::Gap,
            Some(known) if version <= known => VersionStep::Stale,
            Some(known) if version - known == 1 => {
                self.version = Some(version);
                VersionStep::Next
            }
            Some(_) => VersionStep::Gap,
        }
    }
}

/// The body of an answer that is neither 200 nor 204 (observed layout; every field may be missing).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorBody {
    pub error_code: Option<u64>,
    pub tracking_id: Option<String>,
    pub message: Option<String>,
}

impl ErrorBody {
    /// Never fails: what cannot be read is empty.
    pub fn parse(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or_default()
    }
}

/// Whether a twin request that was answered with `status` may be repeated: throttled, or the hub's own failure.
pub fn is_retryable(status: u16) -> bool {
    status == 429 || status >= 500
}

/// Whether IoT Hub takes a patch of the desired or reported section. `null` is allowed: it deletes.
pub fn check_patch(patch: &Value) -> Result<(), TwinError> {
    let limit = |path: &str, problem: String| {
        Err(TwinError::Limit {
            path: path.to_owned(),
            problem,
        })
    };
    if !patch.is_object() {
        return limit("$", "is not an object".to_owned());
    }
    let size = serde_json::to_vec(patch)?.len();
    if size > TWIN_SECTION_BYTES {
        return limit(
            "$",
            format!("has {size} bytes; IoT Hub takes {TWIN_SECTION_BYTES}"),
        );
    }
    // An explicit stack: nothing recurses on input.
    let mut open = vec![(String::new(), patch, 0)];
    while let Some((path, value, depth)) = open.pop() {
        if depth > TWIN_DEPTH {
            return limit(&path, format!("is nested deeper than {TWIN_DEPTH}"));
        }
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    if key.is_empty()
                        || key.len() > TWIN_KEY_BYTES
                        || key.contains(|c: char| c.is_control() || matches!(c, '.' | '$' | ' '))
                    {
                        return limit(&path, "a key must be 1 to 1024 bytes without control characters, '.', '$' and space".to_owned());
                    }
                    open.push((path, value, depth + 1));
                }
            }
            Value::Array(values) => {
                open.extend(
                    values
                        .iter()
                        .enumerate()
                        .map(|(index, value)| (format!("{path}[{index}]"), value, depth + 1)),
                );
            }
            Value::String(text) if text.len() > TWIN_STRING_BYTES => {
                return limit(
                    &path,
                    format!(
                        "has {} bytes; IoT Hub takes strings of {TWIN_STRING_BYTES}",
                        text.len()
                    ),
                );
            }
            Value::Number(number) => {
                let too_large = match number.as_i64() {
                    Some(integer) => integer.unsigned_abs() > TWIN_INTEGER.unsigned_abs(),
                    None => number.is_u64(),
                };
                if too_large {
                    return limit(
                        &path,
                        format!("is an integer beyond ±{TWIN_INTEGER}; send it as a string"),
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}
