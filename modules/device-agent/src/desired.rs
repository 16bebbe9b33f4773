//! Which update the desired properties want. No I/O.

use std::collections::VecDeque;

use agent_protocol::{Bundle, Fault};
use measurement::{CONFIG_TYPE, Envelope};
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Events remembered: the broker repeats those that wait for their answer.
const REMEMBERED: usize = 64;
/// Changes kept apart, for one that should have come between them.
const APART: usize = 64;

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

/// The property as it is put together from its changes, which an outage may bring in any order.
#[derive(Debug, Default)]
pub struct Desired {
    /// In the order of their places: nothing before the last whole section.
    changes: Vec<Part>,
    wanted: Wanted,
    seen: VecDeque<String>,
}

/// What one change says of the property.
#[derive(Debug)]
struct Part {
    place: Place,
    time: Option<OffsetDateTime>,
    /// None: nothing, which a whole section says by not having it.
    property: Option<Value>,
}

/// The whole section of a version holds the change that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    version: u64,
    complete: bool,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Something of the update.
    News,
    /// What it said before, or what a newer one has made old.
    Repeated,
    /// Nothing of the update.
    Other,
}

/// As iothub-module publishes it (docs/reference/events.md).
#[derive(Deserialize)]
struct Change {
    version: u64,
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
        let property = match change.desired.get(PROPERTY) {
            None if !change.complete => return Ok(Taken::Other),
            None | Some(Value::Null) => None,
            Some(property) => Some(property.clone()),
        };
        // What is delivered again has its time too; what is published again is of a device that may have been created anew.
        let time = envelope.time.unwrap_or_default();
        let event = format!("{} {time}", envelope.id);
        if self.seen.contains(&event) {
            return Ok(Taken::Repeated);
        }
        self.seen.push_back(event);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let newest = self.changes.last().map(|part| part.place.version);
        let is_newer = newest.is_none_or(|newest| change.version > newest);
        self.put(Part {
            place: Place {
                version: change.version,
                complete: change.complete,
            },
            time: OffsetDateTime::parse(&time, &Rfc3339).ok(),
            property,
        });
        let wanted = fold(&self.changes);
        if !is_newer && wanted == self.wanted {
            return Ok(Taken::Repeated);
        }
        self.wanted = wanted;
        Ok(Taken::News)
    }

    /// Puts a change into its place, unless a newer whole section is known.
    fn put(&mut self, part: Part) {
        // Versions that begin anew are of a device that was created anew.
        if let Some(newest) = self.changes.last()
            && part.place.complete
            && part.place.version < newest.place.version
            && part.time > newest.time
        {
            self.changes.clear();
        }
        let before = |known: &Part| known.place <= part.place;
        let at = self.changes.partition_point(before);
        let is_old = at == 0
            && self
                .changes
                .first()
                .is_some_and(|first| first.place.complete);
        if is_old {
            return;
        }
        let is_whole = part.place.complete;
        self.changes.insert(at, part);
        if is_whole {
            self.changes.drain(..at);
        } else if self.changes.len() > APART {
            let first = self.changes.remove(0);
            if let Some(second) = self.changes.first_mut() {
                let is_whole = !matches!(first.property, Some(Value::Object(_)));
                second.place.complete |= first.place.complete || is_whole;
                second.property = merged(first.property, second.property.take());
            }
        }
    }
}

/// What all changes say together.
fn fold(changes: &[Part]) -> Wanted {
    let property = changes.iter().fold(None, |before, part| {
        if part.place.complete {
            part.property.clone()
        } else {
            merged(before, part.property.clone())
        }
    });
    match property {
        None => Wanted::Nothing,
        Some(Value::Object(mut property)) => {
            property.retain(|_, value| !value.is_null());
            wanted(&property)
        }
        Some(other) => Wanted::Invalid(format!(
            "{PROPERTY} must be an object with uri, sha256 and version, not {other}"
        )),
    }
}

/// Two merge patches as one, or the property after one (RFC 7386); nothing below the property has parts of its own. Nulls stay.
fn merged(before: Option<Value>, change: Option<Value>) -> Option<Value> {
    match (before, change) {
        (Some(Value::Object(mut whole)), Some(Value::Object(new))) => {
            whole.extend(new);
            Some(Value::Object(whole))
        }
        (_, change) => change,
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

    fn at(second: u8, version: u64, complete: bool, desired: Value) -> Vec<u8> {
        let id = format!("iothub-module/config/{version}/{complete}/{desired}");
        let time = format!("2026-03-01T10:00:{second:02}.000000Z");
        json!({"specversion": "1.0", "id": id, "source": "/x", "type": CONFIG_TYPE, "time": time,
            "data": {"version": version, "complete": complete, "desired": desired}})
        .to_string()
        .into_bytes()
    }

    fn event(version: u64, complete: bool, desired: Value) -> Vec<u8> {
        at(u8::try_from(version).unwrap(), version, complete, desired)
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
        let whole = event(1, true, json!({"update": property(), "modules": {}}));
        assert_eq!(desired.take(&whole), Ok(Taken::News));
        assert_eq!(version(&desired), Some("1.2.3"));
        let part = event(2, false, json!({"update": {"version": "1.3.0"}}));
        assert_eq!(desired.take(&part), Ok(Taken::News));
        assert_eq!(version(&desired), Some("1.3.0"));
        let other = event(3, false, json!({"modules": {"modbus-reader": {}}}));
        assert_eq!(desired.take(&other), Ok(Taken::Other));
        assert_eq!(version(&desired), Some("1.3.0"));
        let gone = event(4, false, json!({"update": null}));
        assert_eq!(desired.take(&gone), Ok(Taken::News));
        assert_eq!(desired.wanted(), &Wanted::Nothing);

        let again = event(5, false, json!({"update": property()}));
        desired.take(&again).unwrap();
        assert_eq!(version(&desired), Some("1.2.3"));
        // Delivered again, late.
        assert_eq!(desired.take(&part), Ok(Taken::Repeated));
        assert_eq!(version(&desired), Some("1.2.3"));
        let without = event(6, false, json!({"update": {"uri": null}}));
        desired.take(&without).unwrap();
        assert!(matches!(desired.wanted(), Wanted::Invalid(reason) if reason.contains("no uri")));
        // A whole section without it: it is gone.
        assert_eq!(desired.take(&event(7, true, json!({}))), Ok(Taken::News));
        assert_eq!(desired.wanted(), &Wanted::Nothing);
    }

    #[test]
    fn the_order_in_which_changes_arrive_is_of_no_account() {
        let changes = [
            event(1, true, json!({})),
            event(2, false, json!({"update": property()})),
            event(
                3,
                false,
                json!({"update": {"uri": null, "version": "1.3.0"}}),
            ),
            event(4, false, json!({"update": {"uri": "https://h/y"}})),
        ];
        let told = |order: &[usize]| {
            let mut desired = Desired::default();
            for index in order {
                desired.take(&changes[*index]).unwrap();
            }
            desired.wanted().clone()
        };
        let expected = told(&[0, 1, 2, 3]);
        assert!(matches!(&expected, Wanted::Bundle(bundle) if bundle.uri == "https://h/y"));
        for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [1, 3, 2, 0]] {
            assert_eq!(told(&order), expected, "{order:?}");
        }
    }

    #[test]
    fn of_a_device_that_was_created_anew_the_new_section_counts() {
        let mut desired = Desired::default();
        let first = at(0, 1, true, json!({}));
        desired.take(&first).unwrap();
        desired
            .take(&at(1, 2, false, json!({"update": property()})))
            .unwrap();
        assert_eq!(desired.take(&first), Ok(Taken::Repeated));
        assert_eq!(version(&desired), Some("1.2.3"));
        let anew = at(9, 1, true, json!({}));
        assert_eq!(desired.take(&anew), Ok(Taken::News));
        assert_eq!(desired.wanted(), &Wanted::Nothing);
    }

    #[test]
    fn what_is_published_again_is_no_news() {
        let mut desired = Desired::default();
        let whole = json!({"update": property()});
        assert_eq!(
            desired.take(&at(1, 4, true, whole.clone())),
            Ok(Taken::News)
        );
        assert_eq!(desired.take(&at(2, 4, true, whole)), Ok(Taken::Repeated));
        // The operator wrote it once more.
        let same = at(3, 5, false, json!({"update": property()}));
        assert_eq!(desired.take(&same), Ok(Taken::News));
    }

    #[test]
    fn what_is_kept_of_many_changes_is_bounded() {
        let mut desired = Desired::default();
        desired
            .take(&at(1, 1, false, json!({"update": property()})))
            .unwrap();
        for change in 2..300 {
            let number = json!({"update": {"version": format!("2.0.{change}")}});
            desired.take(&at(1, change, false, number)).unwrap();
        }
        assert_eq!(version(&desired), Some("2.0.299"));
        assert!(desired.changes.len() <= APART && desired.seen.len() <= REMEMBERED);
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
                .take(&event(1, false, json!({"update": property})))
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
