//! Cloud-to-device messages: delivered until they are acknowledged.

use std::time::Duration;

use crate::support::{Bench, eventually};
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use serde_json::json;

const FILTER: &str = "devices/dev1/messages/devicebound/#";
const QUEUE: &str = "/devices/dev1/messages/devicebound";

async fn pending(bench: &Bench) -> Vec<String> {
    let (status, pending) = bench.http("GET", QUEUE, "").await;
    assert_eq!(status, 200);
    pending
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["messageId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_message_is_delivered_again_until_its_puback() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let message = r#"{"messageId":"m-1","body":{"cmd":1.10},"properties":{"a key":"b+c"}}"#;
    assert_eq!(bench.http("POST", QUEUE, message).await.0, 200);

    // Nothing before the subscription.
    let mut device = bench.connect(&login).await;
    device.expect_silence().await;
    device.subscribe(FILTER).await;
    let (topic, first) = device.expect_publish().await;
    assert_eq!(
        topic,
        "devices/dev1/messages/devicebound/%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8\
         &%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound&a%20key=b%2Bc"
    );
    assert_eq!(
        (&first.payload[..], first.dup),
        (&b"{\"cmd\":1.10}"[..], false)
    );
    assert_eq!(pending(&bench).await, ["m-1"]);

    // Not acknowledged: again on the next connection, also after a restart of the hub, without subscribing again.
    drop(device);
    let mut device = bench.connect(&login).await;
    assert!(device.expect_publish().await.1.dup);
    let bench = bench.restart().await;
    let mut device = bench.connect(&login).await;
    let (again, publish) = device.expect_publish().await;
    assert_eq!(again, topic);
    device
        .send(&Packet::PubAck(PubAck::new(publish.pkid)))
        .await;
    device.expect_silence().await;
    assert!(pending(&bench).await.is_empty());
    let mut device = bench.connect(&login).await;
    device.expect_silence().await;
}

#[tokio::test]
async fn messages_arrive_in_order_while_connected_and_each_is_completed_by_itself() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    device.subscribe(FILTER).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        let message = json!({"messageId": format!("m-{number}"), "bodyBase64": "AAE="}).to_string();
        assert_eq!(bench.http("POST", QUEUE, &message).await.0, 200);
        let (topic, publish) = device.expect_publish().await;
        assert!(topic.contains(&format!("%24.mid=m-{number}&")), "{topic}");
        assert_eq!(&publish.payload[..], [0, 1]);
        ids.push(publish.pkid);
    }
    device.send(&Packet::PubAck(PubAck::new(ids[1]))).await;
    device.expect_silence().await;
    assert_eq!(pending(&bench).await, ["m-1", "m-3"]);
}

#[tokio::test]
async fn an_expired_lock_returns_the_message() {
    let bench =
        Bench::start_with(|options| options.cloud_message_lock = Duration::from_millis(200)).await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    device.subscribe(FILTER).await;
    bench
        .http("POST", QUEUE, r#"{"messageId":"m-1","body":1}"#)
        .await;
    let (_, first) = device.expect_publish().await;
    let (_, second) = device.expect_publish().await;
    assert!(!first.dup && second.dup);
    device.send(&Packet::PubAck(PubAck::new(second.pkid))).await;
    eventually("completed", async || {
        pending(&bench).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_queue_has_a_limit_and_messages_have_a_size() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for _ in 0..50 {
        assert_eq!(bench.http("POST", QUEUE, r#"{"body":1}"#).await.0, 200);
    }
    let (status, error) = bench.http("POST", QUEUE, r#"{"body":1}"#).await;
    assert_eq!((status, &error["errorCode"]), (403, &json!(403_004)));
    let large = json!({"body": "x".repeat(64 * 1024)}).to_string();
    assert_eq!(bench.http("POST", QUEUE, &large).await.0, 413);
    assert_eq!(
        bench
            .http("POST", QUEUE, r#"{"body":1,"ttlSeconds":0}"#)
            .await
            .0,
        400
    );
    assert_eq!(
        bench
            .http(
                "POST",
                "/devices/nobody/messages/devicebound",
                r#"{"body":1}"#
            )
            .await
            .0,
        404
    );
}
