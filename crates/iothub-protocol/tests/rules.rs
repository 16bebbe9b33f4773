//! Twins, methods, connection strings and the retry policy follow IoT Hub's rules.

use std::time::Duration;

use iothub_protocol::twin::{ErrorBody, check_patch, is_retryable, parse_desired};
use iothub_protocol::{
    ConnectionString, ConnectionStringError, DesiredTracker, Interruption, MethodRequest,
    RetryPolicy, TwinDocument, VersionStep,
};
use serde_json::{Value, json};

#[test]
fn twin_documents() {
    let twin = TwinDocument::parse(
        br#"{"desired": {"interval": 5, "$version": 3}, "reported": {"fw": "1.0", "$version": 7}}"#,
    )
    .unwrap();
    assert_eq!(
        (&twin.desired, twin.desired_version),
        (&json!({"interval": 5}), 3)
    );
    assert_eq!(
        (&twin.reported, twin.reported_version),
        (&json!({"fw": "1.0"}), 7)
    );
    assert_eq!(
        TwinDocument::parse(twin.to_json().to_string().as_bytes()).unwrap(),
        twin
    );
    assert!(TwinDocument::parse(br#"{"reported": {}}"#).is_err());
    assert!(
        TwinDocument::parse(br#"{"desired": {}}"#).is_err(),
        "without a version nothing can be compared"
    );

    assert_eq!(
        parse_desired(br#"{"interval": 9, "$version": 4}"#, None).unwrap(),
        (json!({"interval": 9}), 4)
    );
    assert_eq!(
        parse_desired(br#"{"interval": null}"#, Some(5)).unwrap(),
        (json!({"interval": null}), 5)
    );
    assert!(parse_desired(b"[]", Some(1)).is_err() && parse_desired(b"{}", None).is_err());
    let error = ErrorBody::parse(
        br#"{"errorCode":429001,"trackingId":"x","message":"slow down","timestampUtc":"2026"}"#,
    );
    assert_eq!(
        (error.error_code, error.message.as_deref()),
        (Some(429_001), Some("slow down"))
    );
    assert_eq!(ErrorBody::parse(b"<html>"), ErrorBody::default());
    assert!(is_retryable(429) && is_retryable(503) && !is_retryable(400));
}

#[test]
fn a_missed_version_is_noticed() {
    let mut tracker = DesiredTracker::new();
    assert_eq!(
        tracker.step(4),
        VersionStep::Gap,
        "nothing is known before the first GET"
    );
    tracker.complete(4);
    assert_eq!(tracker.step(4), VersionStep::Stale);
    assert_eq!(tracker.step(5), VersionStep::Next);
    assert_eq!(tracker.step(7), VersionStep::Gap);
    assert_eq!(tracker.version(), Some(5));
    tracker.complete(7);
    assert_eq!(tracker.step(8), VersionStep::Next);
    tracker.complete(u64::MAX);
    assert_eq!(tracker.step(1), VersionStep::Stale);
}

#[test]
fn twin_limits() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
    assert!(check_patch(&nested(10)).is_ok());
    assert!(check_patch(&nested(11)).is_err());
    assert!(check_patch(&json!({"a": null, "b": [1, {"c": true}]})).is_ok());
    let refused = [
        json!(1),
        json!({"a.b": 1}),
        json!({"a b": 1}),
        json!({"$x": 1}),
        json!({"": 1}),
        json!({"a": "x".repeat(4097)}),
        json!({"a": 4_503_599_627_370_497_i64}),
        json!({"a": u64::MAX}),
        json!({"a": (0..9).map(|_| "x".repeat(4000)).collect::<Vec<_>>()}),
    ];
    for patch in refused {
        assert!(check_patch(&patch).is_err(), "{patch:.60}");
    }
    let error = check_patch(&json!({"line": {"a b": 1}}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("line.a b"), "{error}");
}

#[test]
fn method_calls() {
    let call =
        MethodRequest::parse("$iothub/methods/POST/reboot/?$rid=1a2b", br#"{"delay": 3}"#).unwrap();
    assert_eq!(
        (call.name.as_str(), &call.payload),
        ("reboot", &json!({"delay": 3}))
    );
    assert_eq!(
        call.response_topic(200),
        "$iothub/methods/res/200/?$rid=1a2b"
    );
    assert_eq!(
        MethodRequest::parse("$iothub/methods/POST/reboot/?$rid=1a2b", b" ")
            .unwrap()
            .payload,
        Value::Null
    );
    assert!(MethodRequest::parse("$iothub/methods/POST/reboot/?$rid=1a2b", b"{").is_err());
    assert!(MethodRequest::check("reboot", b"{}").is_ok());
    assert!(MethodRequest::check(&"x".repeat(101), b"").is_err());
    assert!(MethodRequest::check("x", &vec![b' '; 128 * 1024 + 1]).is_err());
}

#[test]
fn connection_strings() {
    let text = "HostName=h.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=c2VjcmV0a2V5;GatewayHostName=localhost";
    let parsed = ConnectionString::parse(text).unwrap();
    assert_eq!(
        (parsed.host_name.as_str(), parsed.tcp_host()),
        ("h.example", "localhost")
    );
    assert_eq!(parsed.identity.client_id(), "dev1/mod1");
    assert_eq!(parsed.reveal(), text);
    assert!(
        !format!("{parsed:?}").contains("c2Vj"),
        "the key stays out of logs"
    );
    assert!(
        ConnectionString::parse(" hostname=h;deviceid=d;sharedaccesskey=YWI=;\n").is_ok(),
        "case, space and a last semicolon do not matter"
    );

    let error = |text: &str| ConnectionString::parse(text).unwrap_err();
    assert_eq!(
        error("DeviceId=d;SharedAccessKey=YWI="),
        ConnectionStringError::Missing("HostName")
    );
    assert_eq!(
        error("HostName=h;DeviceId=d"),
        ConnectionStringError::Missing("SharedAccessKey")
    );
    assert_eq!(
        error("HostName=h;DeviceId=d;DeviceId=e;SharedAccessKey=YWI="),
        ConnectionStringError::Repeated("DeviceId")
    );
    assert_eq!(
        error("HostName=h;DeviceId=d;x509=true"),
        ConnectionStringError::Unsupported("x509")
    );
    assert_eq!(
        error("HostName=h/x;DeviceId=d;SharedAccessKey=YWI="),
        ConnectionStringError::Host
    );
    for text in [
        "secret",
        "HostName=h;secret;DeviceId=d",
        "HostName=h;DeviceId=d;SharedAccessKey=secret!",
    ] {
        assert!(
            !error(text).to_string().contains("secret"),
            "an error never repeats the text"
        );
    }
}

#[test]
fn retry_policy() {
    let policy = RetryPolicy::default();
    for random in [0.0, 0.5, 0.999, f64::NAN] {
        for attempt in [0, 1, 5, 31, 32, u32::MAX] {
            let lost = policy.delay(Interruption::Lost, attempt, random);
            assert!(
                (Duration::from_millis(100)..=Duration::from_secs(10)).contains(&lost),
                "{attempt} {random}: {lost:?}"
            );
            let refused = policy.delay(Interruption::Refused, attempt, random);
            assert!(
                (Duration::from_secs(10)..=Duration::from_secs(60)).contains(&refused),
                "{attempt} {random}: {refused:?}"
            );
        }
    }
    assert_eq!(
        policy.delay(Interruption::Lost, 0, 0.0),
        Duration::from_millis(100)
    );
    assert_eq!(
        policy.delay(Interruption::Lost, 2, 0.5),
        Duration::from_millis(600)
    );
    assert!(
        policy.delay(Interruption::Lost, 3, 0.9) > policy.delay(Interruption::Lost, 3, 0.1),
        "jitter spreads a fleet"
    );
}
