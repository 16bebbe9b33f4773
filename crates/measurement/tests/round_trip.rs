//! What is rendered is what a receiver reads: no value rounded, no tag lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use measurement::{
    BadReason, Envelope, EnvelopeError, Epoch, EventTemplate, MEASUREMENTS_TYPE, Measurements,
    Reading, STATUS_TYPE, StreamIdentity, Value, event, event_source, rfc3339_micros, valid_name,
};
use proptest::prelude::*;
use time::OffsetDateTime;

fn identity() -> StreamIdentity {
    StreamIdentity {
        appliance: "edge-1".into(),
        module: "modbus-reader".into(),
        device: "press-1".into(),
        group: "fast".into(),
    }
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        any::<bool>().prop_map(|value| Reading::Good(Value::Bool(value))),
        any::<i64>().prop_map(|value| Reading::Good(Value::Int(value))),
        any::<u64>().prop_map(|value| Reading::Good(Value::UInt(value))),
        any::<f64>().prop_map(Reading::float),
        any::<u64>().prop_map(|bits| Reading::float(f64::from_bits(bits))),
        any::<f32>().prop_map(|value| Reading::float(f64::from(value))),
        any::<String>().prop_map(|text| Reading::Good(Value::Text(text.into()))),
        proptest::sample::select(BadReason::ALL.to_vec()).prop_map(Reading::Bad),
    ]
}

fn tag() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,31}".prop_filter("a valid name", |name| valid_name(name))
}

proptest! {
    #[test]
    fn every_tag_arrives_with_its_exact_value(
        readings in proptest::collection::btree_map(tag(), reading(), 0..40),
        sequence in 1u64..,
        micros in 0i64..253_402_300_799_999_999,
    ) {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap();
        let epoch = Epoch::new();
        let tags: Vec<&String> = readings.keys().collect();
        let template = EventTemplate::new(&identity(), &epoch, &tags);
        let rendered = template.render(sequence, at, readings.values());
        prop_assert_eq!(&rendered, &template.render(sequence, at, readings.values()));

        let envelope = Envelope::parse(&rendered.body).unwrap();
        let id = format!("modbus-reader/press-1/fast/{}/{sequence}", epoch.as_str());
        prop_assert_eq!(&rendered.id, &id);
        prop_assert_eq!(&envelope.id, &id);
        prop_assert_eq!(envelope.source, "/fieldgate/edge-1/modbus-reader");
        prop_assert_eq!(envelope.kind, MEASUREMENTS_TYPE);
        prop_assert_eq!(envelope.subject.as_deref(), Some("press-1/fast"));
        prop_assert_eq!(envelope.partition_key.as_deref(), Some("press-1"));
        let time = rfc3339_micros(at);
        prop_assert_eq!(envelope.time.as_deref(), Some(time.as_str()));
        prop_assert_eq!(envelope.sequence, Some(sequence));
        prop_assert_eq!(envelope.epoch.as_deref(), Some(epoch.as_str()));

        let data: Measurements = serde_json::from_str(envelope.data.unwrap().get()).unwrap();
        prop_assert_eq!(&data.device, "press-1");
        prop_assert_eq!(&data.group, "fast");
        prop_assert_eq!(&data.epoch, epoch.as_str());
        prop_assert_eq!(data.sequence, sequence);
        prop_assert_eq!(&data.timestamp, &time);
        prop_assert_eq!(data.values.len() + data.bad.len(), readings.len());
        for (tag, reading) in &readings {
            match reading {
                Reading::Bad(reason) => prop_assert_eq!(&data.bad[tag], reason.as_str()),
                Reading::Good(Value::Bool(value)) => prop_assert_eq!(data.values[tag].as_bool(), Some(*value)),
                Reading::Good(Value::Int(value)) => prop_assert_eq!(data.values[tag].as_i64(), Some(*value)),
                Reading::Good(Value::UInt(value)) => prop_assert_eq!(data.values[tag].as_u64(), Some(*value)),
                Reading::Good(Value::Text(text)) => prop_assert_eq!(data.values[tag].as_str(), Some(&**text)),
                Reading::Good(Value::Float(value)) => {
                    prop_assert_eq!(data.values[tag].as_f64().map(f64::to_bits), Some(value.to_bits()));
                }
            }
        }
        let again = serde_json::to_string(&data).unwrap();
        prop_assert_eq!(serde_json::from_str::<Measurements>(&again).unwrap(), data);
    }

    #[test]
    fn parsing_anything_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&body);
    }
}

#[test]
fn limits_are_exact() {
    let tags = ["i", "u", "f", "small", "negative-zero"];
    let readings = [
        Reading::Good(Value::Int(i64::MIN)),
        Reading::Good(Value::UInt(u64::MAX)),
        Reading::Good(Value::Float(f64::MAX)),
        Reading::Good(Value::Float(5e-324)),
        Reading::Good(Value::Float(-0.0)),
    ];
    let template = EventTemplate::new(&identity(), &Epoch::new(), &tags);
    let body = template
        .render(1, OffsetDateTime::UNIX_EPOCH, readings.iter())
        .body;
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.contains("\"i\":-9223372036854775808"), "{text}");
    assert!(text.contains("\"u\":18446744073709551615"), "{text}");
    assert!(
        text.contains("\"sequence\":\"00000000000000000001\""),
        "{text}"
    );
    let data = Envelope::parse(&body).unwrap().data.unwrap();
    let data: Measurements = serde_json::from_str(data.get()).unwrap();
    assert_eq!(data.values["f"].as_f64(), Some(f64::MAX));
    assert_eq!(data.values["small"].as_f64(), Some(5e-324));
    let zero = data.values["negative-zero"].as_f64().unwrap();
    assert!(zero == 0.0 && zero.is_sign_negative());
}

#[test]
fn a_tag_is_never_silently_absent() {
    let template = EventTemplate::new(&identity(), &Epoch::new(), &["a", "b", "c"]);
    let readings = [
        Reading::Good(Value::Float(f64::NAN)),
        Reading::Good(Value::Bool(true)),
    ];
    let body = template
        .render(7, OffsetDateTime::UNIX_EPOCH, readings.iter())
        .body;
    let data = Envelope::parse(&body).unwrap().data.unwrap();
    let data: Measurements = serde_json::from_str(data.get()).unwrap();
    assert_eq!(data.values["b"], true);
    assert_eq!(data.bad["a"], "not-a-number");
    assert_eq!(data.bad["c"], "not-read");
}

#[test]
fn generic_events_are_envelopes() {
    let source = event_source("edge-1", "iothub-module");
    let data = serde_json::json!({"ready": true});
    let first = event(&source, STATUS_TYPE, Some("status"), &data).unwrap();
    let second = event(&source, STATUS_TYPE, Some("status"), &data).unwrap();
    assert_ne!(first.id, second.id);
    let envelope = Envelope::parse(&first.body).unwrap();
    assert_eq!(envelope.id, first.id);
    assert_eq!(envelope.kind, STATUS_TYPE);
    assert_eq!(envelope.subject.as_deref(), Some("status"));
    assert_eq!(envelope.data.unwrap().get(), r#"{"ready":true}"#);
    assert!(envelope.sequence.is_none() && envelope.epoch.is_none());
}

#[test]
fn foreign_events_are_read() {
    let body = br#"{"specversion":"1.0","id":"\u0041","source":"x","type":"t","sequence":"abc","other":[1,{"a":2}]}"#;
    let envelope = Envelope::parse(body).unwrap();
    assert_eq!(envelope.id, "A");
    assert!(envelope.sequence.is_none() && envelope.data.is_none());
}

#[test]
fn a_measurement_with_a_foreign_id_has_the_epoch_of_its_data() {
    let body = br#"{"specversion":"1.0","id":"x","source":"x","type":"com.fieldgate.measurements.v1","sequence":"1","data":{"epoch":"e1"}}"#;
    assert_eq!(Envelope::parse(body).unwrap().epoch.as_deref(), Some("e1"));
}

#[test]
fn what_cannot_be_handled_says_why() {
    let error = |body: &str| Envelope::parse(body.as_bytes()).unwrap_err();
    assert!(matches!(error("[]"), EnvelopeError::Json(_)));
    assert!(matches!(
        error(r#"{"specversion":"1.0","id":"1","source":"x"}"#),
        EnvelopeError::Json(_)
    ));
    assert!(matches!(
        error(r#"{"specversion":"0.3","id":"1","source":"x","type":"t"}"#),
        EnvelopeError::SpecVersion(_)
    ));
    assert!(matches!(
        error(r#"{"specversion":"1.0","id":"","source":"x","type":"t"}"#),
        EnvelopeError::Empty("id")
    ));
    let measurement = r#"{"specversion":"1.0","id":"m/d/g/e/1","source":"x","type":"com.fieldgate.measurements.v1","sequence":"+1","data":{}}"#;
    assert!(matches!(
        error(measurement),
        EnvelopeError::Measurement {
            attribute: "sequence",
            ..
        }
    ));
}
