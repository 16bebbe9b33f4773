//! Which update the desired properties want. No I/O.

use std::collections::VecDeque;

use agent_protocol::{Bundle, Fault};
use measurement::{CONFIG_TYPE, Envelope};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Events remembered: the broker repeats those that wait for their answer, and behind a newer one an old one would count again.
const REMEMBERED: usize = 64;

/// The desired property.
pub const PROPERTY: &str = "update";

/// What the desired properties want, as far as this instance has been told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// This instance has not been told: they have not changed since it began.
    #[default]
    Untold,
    /// No update.
    Nothing,
    /// This one.
    Bundle(Bundle),
    /// Something that cannot be understood, and why.
    Invalid(String),
}

/// The property as it was put together from its changes.
#[derive(Debug, Default)]
pub struct Desired {
    property: Option<Map<String, Value>>,
    wanted: Wanted,
    seen: VecDeque<String>,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Something of the update.
    News,
    /// What it said before: it was delivered again.
    Repeated,
    /// Nothing of the update.
    Other,
}

/// As iothub-module publishes it (docs/reference/events.md).
#[derive(Deserialize)]
struct Change {
    complete: bool,
    desired: Value,
}

impl Desired {
    /// What is wanted now.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Takes an event of the configuration topic in.
    ///
    /// # Errors
    /// Why it is not such an event.
    pub fn take(&mut self, body: &[u8]) -> Result<Taken, String> {
        let envelope = Envelope::parse(body).map_err(|error| error.to_string())?;
        if envelope.kind != CONFIG_TYPE {
            return Ok(Taken::Other);
        }
        let data = envelope.data.map_or("null", |data| data.get());
        let change: Change = serde_json::from_str(data)
            .map_err(|error| format!("its data is no change of desired properties: {error}"))?;
        let property = change.desired.get(PROPERTY);
        match (property, change.complete) {
            (None, false) => return Ok(Taken::Other),
            _ if self.seen.iter().any(|id| *id == envelope.id) => return Ok(Taken::Repeated),
            (None | Some(Value::Null), _) => {
                self.property = None;
                self.wanted = Wanted::Nothing;
            }
            (Some(Value::Object(new)), complete) => {
                let mut whole = match self.property.take() {
                    Some(before) if !complete => before,
                    _ => Map::new(),
                };
                merge(&mut whole, new);
                self.wanted = wanted(&whole);
                self.property = Some(whole);
            }
            (Some(other), _) => {
                self.property = None;
                self.wanted = Wanted::Invalid(format!(
                    "{PROPERTY} must be an object with uri, sha256 and version, not {other}"
                ));
            }
        }
        self.seen.push_back(envelope.id.into_owned());
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        Ok(Taken::News)
    }
}

/// A merge patch (RFC 7386); nothing below the property has parts of its own.
fn merge(whole: &mut Map<String, Value>, new: &Map<String, Value>) {
    for (key, value) in new {
        if value.is_null() {
            whole.remove(key);
        } else {
            whole.insert(key.clone(), value.clone());
        }
    }
}

fn wanted(property: &Map<String, Value>) -> Wanted {
    if property.is_empty() {
        return Wanted::Nothing;
    }
    let missing: Vec<&str> = ["uri", "sha256", "version"]
        .into_iter()
        .filter(|key| !property.contains_key(*key))
        .collect();
    if !missing.is_empty() {
        return Wanted::Invalid(format!(
            "{PROPERTY} has no {}; set uri, sha256 and version together",
            missing.join(", ")
        ));
    }
    let bundle = serde_json::from_value::<Bundle>(Value::Object(property.clone()))
        .map_err(|error| error.to_string())
        .and_then(|bundle| {
            bundle
                .check()
                .map(|()| bundle)
                .map_err(|fault: Fault| fault.to_string())
        });
    match bundle {
        Ok(bundle) => Wanted::Bundle(bundle),
        Err(reason) => Wanted::Invalid(format!("{PROPERTY}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(complete: bool, desired: Value) -> Vec<u8> {
        let id = format!("iothub-module/config/{complete}/{desired}");
        json!({"specversion": "1.0", "id": id, "source": "/x", "type": CONFIG_TYPE,
            "data": {"version": 4, "complete": complete, "desired": desired}})
        .to_string()
        .into_bytes()
    }

    fn property() -> Value {
        json!({"uri": "https://h/x", "sha256": "0".repeat(64), "version": "1.2.3"})
    }

    fn version(desired: &Desired) -> Option<&str> {
        match desired.wanted() {
            Wanted::Bundle(bundle) => bundle.version.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn changes_are_put_together() {
        let mut desired = Desired::default();
        let whole = event(true, json!({"update": property(), "modules": {}}));
        assert_eq!(desired.take(&whole), Ok(Taken::News));
        assert_eq!(version(&desired), Some("1.2.3"));
        let part = event(false, json!({"update": {"version": "1.3.0"}}));
        assert_eq!(desired.take(&part), Ok(Taken::News));
        assert_eq!(version(&desired), Some("1.3.0"));
        let other = event(false, json!({"modules": {"modbus-reader": {}}}));
        assert_eq!(desired.take(&other), Ok(Taken::Other));
        assert_eq!(version(&desired), Some("1.3.0"));
        let gone = event(false, json!({"update": null}));
        assert_eq!(desired.take(&gone), Ok(Taken::News));
        assert_eq!(desired.wanted(), &Wanted::Nothing);

        desired
            .take(&event(false, json!({"update": property()})))
            .unwrap();
        assert_eq!(version(&desired), Some("1.2.3"));
        // Delivered again, late.
        assert_eq!(desired.take(&part), Ok(Taken::Repeated));
        assert_eq!(version(&desired), Some("1.2.3"));
        // A whole section without it: it is gone.
        assert_eq!(desired.take(&event(true, json!({}))), Ok(Taken::News));
        assert_eq!(desired.wanted(), &Wanted::Nothing);
    }

    #[test]
    fn what_cannot_be_installed_is_told_and_not_tried() {
        for (property, word) in [
            (json!({"uri": "https://h/x"}), "sha256, version"),
            (json!(7), "must be an object"),
            (
                json!({"uri": "file:///x", "sha256": "0".repeat(64), "version": "1.2.3"}),
                "uri:",
            ),
            (
                json!({"uri": "https://h/x", "sha256": "0".repeat(64), "version": "1", "force": true}),
                "force",
            ),
        ] {
            let mut desired = Desired::default();
            desired
                .take(&event(false, json!({"update": property})))
                .unwrap();
            let Wanted::Invalid(reason) = desired.wanted() else {
                panic!("{:?}", desired.wanted());
            };
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn what_is_no_change_of_desired_properties_is_left_alone() {
        let mut desired = Desired::default();
        assert!(desired.take(b"x").is_err());
        assert!(desired.take(&[0xff]).is_err());
        let other =
            json!({"specversion": "1.0", "id": "1", "source": "/x", "type": "y", "data": 1});
        assert_eq!(desired.take(other.to_string().as_bytes()), Ok(Taken::Other));
        let wrong = json!({"specversion": "1.0", "id": "1", "source": "/x", "type": CONFIG_TYPE, "data": 1});
        assert!(desired.take(wrong.to_string().as_bytes()).is_err());
        assert_eq!(desired.wanted(), &Wanted::Untold);
    }
}
