//! Direct methods from the service side to a device and back.

use crate::support::{Bench, eventually};
use serde_json::json;

const CALL: &str =
    r#"{"methodName":"modbus-reader.write","payload":{"delay":3},"responseTimeoutInSeconds":30}"#;

#[tokio::test]
async fn a_call_reaches_the_device_and_its_answer_comes_back() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    device.subscribe("$iothub/methods/POST/#").await;
    let (answer, ()) = tokio::join!(bench.http("POST", "/devices/dev1/methods", CALL), async {
        let (topic, request) = device.expect_publish().await;
        let rid = topic
            .strip_prefix("$iothub/methods/POST/modbus-reader.write/?$rid=")
            .unwrap();
        assert_eq!(&request.payload[..], b"{\"delay\":3}");
        // An answer to a question that nobody asked is ignored.
        let pkid = device
            .publish("$iothub/methods/res/200/?$rid=nobody", "{}")
            .await;
        device.expect_puback(pkid).await;
        let pkid = device
            .publish(
                &format!("$iothub/methods/res/201/?$rid={rid}"),
                "{\"written\":1.0}",
            )
            .await;
        device.expect_puback(pkid).await;
    });
    assert_eq!(
        answer,
        (200, json!({"status": 201, "payload": {"written": 1.0}}))
    );
}

#[tokio::test]
async fn a_device_that_is_not_there_is_404() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let (status, error) = bench.http("POST", "/devices/dev1/methods", CALL).await;
    assert_eq!((status, &error["errorCode"]), (404, &json!(404_103)));
    // Connected, but does not listen.
    let _device = bench.connect(&login).await;
    let (status, error) = bench.http("POST", "/devices/dev1/methods", CALL).await;
    assert_eq!((status, &error["errorCode"]), (404, &json!(404_103)));
    let (status, error) = bench.http("POST", "/devices/nobody/methods", CALL).await;
    assert_eq!((status, &error["errorCode"]), (404, &json!(404_001)));
}

#[tokio::test]
async fn a_call_can_wait_for_the_device_to_connect() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let call = r#"{"methodName":"m","connectTimeoutInSeconds":60}"#;
    let (answer, ()) = tokio::join!(bench.http("POST", "/devices/dev1/methods", call), async {
        let mut device = bench.connect(&login).await;
        device.subscribe("$iothub/methods/POST/#").await;
        let (topic, request) = device.expect_publish().await;
        assert!(request.payload.is_empty());
        let rid = topic.rsplit_once('=').unwrap().1;
        device
            .publish(&format!("$iothub/methods/res/0/?$rid={rid}"), "")
            .await;
    });
    assert_eq!(answer, (200, json!({"status": 0, "payload": null})));
}

#[tokio::test]
async fn no_answer_is_504_whether_the_device_stays_or_goes() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    device.subscribe("$iothub/methods/POST/#").await;
    let call = r#"{"methodName":"m","responseTimeoutInSeconds":5}"#;
    let (status, error) = bench.http("POST", "/devices/dev1/methods", call).await;
    assert_eq!((status, &error["errorCode"]), (504, &json!(504_101)));
    device.expect_publish().await;

    let (answer, ()) = tokio::join!(bench.http("POST", "/devices/dev1/methods", CALL), async {
        device.expect_publish().await;
        drop(device);
    });
    assert_eq!(answer.0, 504);
    eventually("the device is gone", async || {
        let (_, devices) = bench.http("GET", "/devices", "").await;
        (devices[0]["connected"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn time_outs_and_names_out_of_range_are_400() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for call in [
        r#"{"methodName":"m","responseTimeoutInSeconds":4}"#,
        r#"{"methodName":"m","responseTimeoutInSeconds":301}"#,
        r#"{"methodName":"m","connectTimeoutInSeconds":301}"#,
        r#"{"methodName":""}"#,
        r#"{"payload":1}"#,
    ] {
        assert_eq!(
            bench.http("POST", "/devices/dev1/methods", call).await.0,
            400,
            "{call}"
        );
    }
}
