//! What is reported of the device: small enough for a twin, and nothing that changes all the time. No I/O.

use agent_protocol::Status;
use serde_json::{Map, Value, json};

use crate::desired::Wanted;
use crate::plan::{Plan, reasons};

/// Of a text; a twin takes 4 KiB of each, and 32 KiB in all.
const LONGEST: usize = 500;

/// The `details` of the module's status.
pub fn details(status: &Status, wanted: &Wanted, plan: &Plan) -> Value {
    let system = &status.system;
    let mut desired = json!({
        "state": plan.standing.as_str(),
        "reason": plan.reason.as_deref().map(short),
    });
    if let Wanted::Bundle(bundle) = wanted {
        desired["version"] = json!(bundle.version);
    }
    let mut all = json!({
        "name": status.name,
        "system": {
            "version": system["version"],
            "compatible": system["compatible"],
            "slot": system["booted"],
            "errors": system["errors"],
        },
        "update": update(&system["last"]),
        "request": status.request.as_ref().map(|request| json!({
            "state": request.state.as_str(),
            "version": request.version,
            "uri": short(&request.uri),
            "sha256": request.sha256,
            "origin": request.origin,
            "progress": request.progress.as_deref().map(short),
            "reason": request.reason.as_deref().map(short),
            "attempts": request.attempts,
            "begun": request.begun,
            "ended": request.ended,
        })),
        "desired": desired,
        "reset": reset(status),
    });
    without_nothing(&mut all);
    all
}

/// The last update, without what it compares with.
fn update(last: &Value) -> Value {
    if !last.is_object() {
        return Value::Null;
    }
    json!({
        "result": last["result"],
        "version": last["to"]["version"],
        "slot": last["to"]["slot"],
        "from": last["from"]["version"],
        "source": last["source"].as_str().map(short),
        "reason": reasons(last).as_deref().map(short),
        "time": last["time"],
    })
}

fn reset(status: &Status) -> Value {
    let pending = status.reset.pending.as_ref();
    let last = status.reset.last.as_ref();
    json!({
        "asked": pending.map(|pending| pending["requested"].clone()),
        "completed": last.map(|last| last["completed"].clone()),
        "reason": last.map(|last| last["reason"].clone()),
        "preserve": last.map(|last| last["preserve"].clone()),
    })
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// What is null or empty says nothing.
fn without_nothing(value: &mut Value) {
    if let Value::Object(object) = value {
        object.values_mut().for_each(without_nothing);
        object.retain(|_, value| !is_nothing(value));
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null()
        || value.as_object().is_some_and(Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use agent_protocol::{Origin, RequestState, RequestStatus, ResetStatus};

    use super::*;
    use crate::plan::{Standing, Step};

    fn plan() -> Plan {
        Plan {
            step: Step::Rest,
            standing: Standing::GivenUp,
            reason: Some("x".repeat(5000)),
        }
    }

    #[test]
    fn what_is_reported_fits_into_a_twin_and_has_no_nulls() {
        let system = json!({
            "version": "0.1.0", "compatible": "fieldgate-x", "booted": "a", "slots": [],
            "last": {"result": "reverted", "from": {"slot": "a", "version": "0.1.0"}, "to": {"slot": "b", "version": "0.2.0"},
                "source": "https://h/x", "time": "2026-01-01T00:00:00Z", "reasons": ["a", "b"], "known": {"modules": {"m": {}}}},
        });
        let status = Status {
            name: "gate-7".to_owned(),
            system,
            request: Some(RequestStatus {
                id: "1".to_owned(),
                uri: "u".repeat(2048),
                sha256: "0".repeat(64),
                version: None,
                origin: Origin::Method,
                state: RequestState::Done,
                progress: None,
                reason: None,
                attempts: 1,
                retry: false,
                forgotten: false,
                begun: "2026-01-01T00:00:00Z".to_owned(),
                ended: None,
            }),
            reset: ResetStatus {
                pending: None,
                last: Some(
                    json!({"completed": "2026-01-01T00:00:00Z", "reason": "method", "preserve": ["name"], "kept": ["/data/x"]}),
                ),
            },
        };
        let told = details(&status, &Wanted::Nothing, &plan());
        assert_eq!(told["system"]["slot"], "a");
        assert_eq!(told["update"]["reason"], "a; b");
        assert_eq!(told["request"]["origin"], "method");
        assert_eq!(told["desired"]["state"], "given-up");
        assert_eq!(told["reset"]["preserve"], json!(["name"]));
        let text = told.to_string();
        assert!(
            !text.contains("null") && !text.contains("known") && text.len() < 4096,
            "{text}"
        );
    }

    #[test]
    fn a_machine_that_is_no_appliance_says_so() {
        let status = Status {
            name: "laptop".to_owned(),
            system: json!({"version": null, "slots": [], "last": null, "errors": ["it has no rauc"]}),
            request: None,
            reset: ResetStatus::default(),
        };
        let mut plan = plan();
        (plan.standing, plan.reason) = (Standing::Nothing, None);
        assert_eq!(
            details(&status, &Wanted::Untold, &plan),
            json!({"name": "laptop", "system": {"errors": ["it has no rauc"]}, "desired": {"state": "none"}})
        );
    }
}
