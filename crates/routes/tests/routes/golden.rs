//! The cases in `golden.yaml`: rules, an event, and what must come of it. A case that shall change is a change that users notice.

use std::collections::BTreeMap;

use measurement::Envelope;
use routes::{Event, Explanation, Routes, Treatment};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::document;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    routes: Value,
    #[serde(default = "telemetry")]
    topic: String,
    /// Beside those of [`event`]; null takes one away.
    #[serde(default)]
    attributes: Map<String, Value>,
    /// JSON, verbatim.
    #[serde(default)]
    data: Option<String>,
    expect: Expected,
}

fn telemetry() -> String {
    "telemetry".to_owned()
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    route: String,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    ttl_seconds: Option<u64>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    left_out: BTreeMap<String, String>,
    #[serde(default)]
    batch: Option<Value>,
    /// `RULE at CONDITION: WANTED, seen SEEN`; none: not compared.
    #[serde(default)]
    because: Option<Vec<String>>,
}

/// A measurement, unless the case says otherwise.
fn event(case: &Case) -> String {
    let mut event = json!({
        "specversion": "1.0", "id": "modbus-reader/press-1/fast/e1/7", "source": "/fieldgate/gate-7/modbus-reader",
        "type": "com.fieldgate.measurements.v1", "subject": "press-1/fast", "time": "2026-11-22T16:31:19.613576Z",
        "partitionkey": "press-1", "sequence": "00000000000000000007", "datacontenttype": "application/json",
    });
    for (name, value) in &case.attributes {
        event[name] = value.clone();
    }
    event
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let mut text = event.to_string();
    if let Some(data) = &case.data {
        text.pop();
        text = format!("{text},\"data\":{data}}}");
    }
    text
}

fn outcome(explanation: &Explanation<'_>, because: bool) -> Expected {
    let decision = &explanation.decision;
    let owned = |pairs: &[(&str, String)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    };
    let reasons = explanation.passed_over.iter().flat_map(|passed| {
        let rule = passed.route;
        passed.mismatches.iter().map(move |mismatch| {
            format!(
                "{rule} at {}: {}, seen {}",
                mismatch.at, mismatch.wanted, mismatch.seen
            )
        })
    });
    let handling = match &decision.route.treatment {
        Treatment::Drop => None,
        Treatment::Send(handling) => Some(handling),
    };
    Expected {
        route: decision.route.name.to_string(),
        drop: handling.is_none(),
        priority: handling.map(|handling| handling.priority),
        ttl_seconds: handling.and_then(|handling| handling.lifetime.map(|ttl| ttl.as_secs())),
        identity: handling.and_then(|handling| handling.identity.as_deref().map(str::to_owned)),
        properties: owned(&decision.properties),
        left_out: owned(&explanation.left_out),
        batch: handling.and_then(|handling| handling.batch.as_ref().map(|batch| json!(batch))),
        because: because.then(|| reasons.collect()),
    }
}

#[test]
fn every_case_comes_out_as_it_is_written() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/routes/golden.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let cases: Vec<Case> = serde_yaml_ng::from_str(&text).unwrap();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let document = json!({ "routes": case.routes }).to_string();
        let rules = document::load(&document)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", case.case));
        let routes = Routes::compile(&rules.routes);
        let body = event(case);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let event = Event {
            topic: &case.topic,
            envelope: &envelope,
            body: body.as_bytes(),
        };
        let explanation = routes.explain(&event);
        assert_eq!(explanation.decision, routes.route(&event), "{}", case.case);
        let outcome = outcome(&explanation, case.expect.because.is_some());
        if outcome != case.expect {
            wrong.push(format!(
                "{}\n  is       {outcome:?}\n  shall be {:?}",
                case.case, case.expect
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
