//! Twins as a device and the service side see them.

use crate::support::Bench;
use serde_json::{Value, json};

#[tokio::test]
async fn get_report_and_desired_carry_versions() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    device.subscribe("$iothub/twin/res/#").await;
    device
        .subscribe("$iothub/twin/PATCH/properties/desired/#")
        .await;

    let (topic, twin) = device.twin("$iothub/twin/GET/?$rid=a-1", "").await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=a-1");
    assert_eq!(
        twin,
        json!({"desired": {"$version": 1}, "reported": {"$version": 1}})
    );

    let (topic, body) = device
        .twin(
            "$iothub/twin/PATCH/properties/reported/?$rid=2",
            r#"{"fw":"1.1","old":{"x":1}}"#,
        )
        .await;
    assert_eq!(
        (topic.as_str(), body),
        ("$iothub/twin/res/204/?$rid=2&$version=2", Value::Null)
    );
    let (topic, _) = device
        .twin(
            "$iothub/twin/PATCH/properties/reported/?$rid=3",
            r#"{"old":null}"#,
        )
        .await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=3&$version=3");

    let (status, twin) = bench
        .http(
            "PATCH",
            "/devices/dev1/twin",
            r#"{"desired":{"interval":9}}"#,
        )
        .await;
    assert_eq!(
        (status, &twin["desired"]),
        (200, &json!({"interval": 9, "$version": 2}))
    );
    assert_eq!(twin["reported"], json!({"fw": "1.1", "$version": 3}));
    let (topic, notification) = device.expect_publish().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_eq!(
        serde_json::from_slice::<Value>(&notification.payload).unwrap(),
        json!({"interval": 9, "$version": 2})
    );

    let bench = bench.restart().await;
    let (_, twin) = bench.http("GET", "/devices/dev1/twin", "").await;
    assert_eq!(
        twin,
        json!({"desired": {"interval": 9, "$version": 2}, "reported": {"fw": "1.1", "$version": 3}})
    );
}

#[tokio::test]
async fn bad_patches_get_400_and_change_nothing() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    device.subscribe("$iothub/twin/res/#").await;
    for payload in ["{", "[]", "", r#"{"$version":1}"#, r#"{"a.b":1}"#] {
        let (topic, error) = device
            .twin("$iothub/twin/PATCH/properties/reported/?$rid=1", payload)
            .await;
        assert_eq!(topic, "$iothub/twin/res/400/?$rid=1", "{payload}");
        assert_eq!(error["errorCode"], 400_004);
    }
    let large = json!({"a": vec!["x".repeat(4000); 8], "b": "x".repeat(4000)}).to_string();
    let (topic, _) = device
        .twin("$iothub/twin/PATCH/properties/reported/?$rid=2", &large)
        .await;
    assert!(topic.starts_with("$iothub/twin/res/4"), "{topic}");
    let (_, twin) = device.twin("$iothub/twin/GET/?$rid=3", " ").await;
    assert_eq!(twin["reported"], json!({"$version": 1}));
    assert_eq!(
        bench
            .http("PATCH", "/devices/dev1/twin", r#"{"desired":1}"#)
            .await
            .0,
        400
    );
    assert_eq!(
        bench
            .http("PATCH", "/devices/nobody/twin", r#"{"desired":{}}"#)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_module_has_a_twin_of_its_own() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    let login = bench.register("dev1/mod1").await;
    bench
        .http(
            "PATCH",
            "/devices/dev1/twin",
            r#"{"desired":{"whose":"device"}}"#,
        )
        .await;
    bench
        .http(
            "PATCH",
            "/devices/dev1/modules/mod1/twin",
            r#"{"desired":{"whose":"module"}}"#,
        )
        .await;
    let mut module = bench.connect(&login).await;
    module.subscribe("$iothub/twin/res/#").await;
    let (_, twin) = module.twin("$iothub/twin/GET/?$rid=1", "").await;
    assert_eq!(twin["desired"], json!({"whose": "module", "$version": 2}));
}

#[tokio::test]
async fn whoever_is_not_subscribed_gets_no_answer_and_no_notification() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    let pkid = device.publish("$iothub/twin/GET/?$rid=1", " ").await;
    device.expect_puback(pkid).await;
    bench
        .http("PATCH", "/devices/dev1/twin", r#"{"desired":{"a":1}}"#)
        .await;
    device.expect_silence().await;
}
