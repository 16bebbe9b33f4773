//! Device-to-cloud messages: nothing is acknowledged that is not kept.

use std::io::Write;

use crate::support::Bench;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use serde_json::json;

#[tokio::test]
async fn a_message_is_recorded_before_its_puback_and_survives_with_a_torn_tail() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    device.tell("{\"n\":1}").await;
    // No waiting: the PUBACK is the promise.
    assert_eq!(bench.messages().await.len(), 1);
    let file = bench.folder.path().join("messages.ndjson");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);

    let bench = bench
        .restart_after(|_| {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&file)
                .unwrap();
            file.write_all(b"{\"index\":2,\"device\":\"dev1\",\"modu")
                .unwrap();
        })
        .await;
    assert_eq!(bench.messages().await.len(), 1);
    let mut device = bench.connect(&login).await;
    device.tell("{\"n\":2}").await;
    let bodies: Vec<_> = bench
        .messages()
        .await
        .iter()
        .map(|message| message["body"]["n"].clone())
        .collect();
    assert_eq!(bodies, [1, 2]);
    let (_, devices) = bench.http("GET", "/devices", "").await;
    assert_eq!(devices[0]["counts"]["messages"], 2);
}

#[tokio::test]
async fn a_message_keeps_its_properties_and_its_body_to_the_digit() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    let login = bench.register("dev1/mod1").await;
    let mut device = bench.connect(&login).await;
    // As the Node SDK sends from a module's output: system keys encoded, a slash after the bag.
    let bag = "%24.on=out1&%24.mid=id%201%2F2&%24.cid=c%23%2B1&%24.uid=u1&%24.ct=application%2Fjson&%24.ce=utf-8&a%20key=a%2Fb%26c%3Dd\
               &%24.sub=thermostat1&iothub-creation-time-utc=2026-11-22T10%3A00%3A00.000Z/";
    let body = "{\"u64\":18446744073709551615,\"f\":0.1}";
    let pkid = device.publish(&device.telemetry(bag), body).await;
    device.expect_puback(pkid).await;
    let (_, text) = bench.http_text("GET", "/messages", "").await;
    assert!(text.contains(body), "{text}");
    let message = &bench.messages().await[0];
    assert_eq!(
        (&message["index"], &message["device"], &message["module"]),
        (&json!(1), &json!("dev1"), &json!("mod1"))
    );
    assert_eq!(
        message["system"],
        json!({"output-name": "out1", "message-id": "id 1/2", "correlation-id": "c#+1", "user-id": "u1",
               "content-type": "application/json", "content-encoding": "utf-8", "dt-subject": "thermostat1"})
    );
    assert_eq!(
        message["properties"],
        json!({"a key": "a/b&c=d", "iothub-creation-time-utc": "2026-11-22T10:00:00.000Z"})
    );
    assert!(message["received_us"].as_u64().unwrap() / 1_000_000 >= crate::support::now() - 60);
}

#[tokio::test]
async fn many_messages_in_one_segment_are_all_kept_and_acknowledged_in_order() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    let mut bytes = BytesMut::new();
    for pkid in 1..=500_u16 {
        let mut publish = Publish::new(
            device.telemetry("%24.ct=application%2Fjson"),
            QoS::AtLeastOnce,
            pkid.to_string(),
        );
        publish.pkid = pkid;
        publish.write(&mut bytes).unwrap();
    }
    device.send_bytes(&bytes).await;
    for pkid in 1..=500 {
        device.expect_puback(pkid).await;
    }
    let bodies: Vec<_> = bench
        .messages()
        .await
        .iter()
        .map(|message| message["body"].as_u64().unwrap())
        .collect();
    assert_eq!(bodies, (1..=500).collect::<Vec<_>>());
    let (_, page) = bench
        .http_text("GET", "/messages?after=250&limit=3&device=dev1", "")
        .await;
    let indexes: Vec<_> = page
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["index"].clone())
        .collect();
    assert_eq!(indexes, [251, 252, 253]);
    assert_eq!(
        bench.http("GET", "/messages/count", "").await.1["count"],
        500
    );
    assert_eq!(
        bench.http_text("GET", "/messages?device=dev2", "").await.1,
        ""
    );
}

#[tokio::test]
async fn qos_0_is_recorded_without_a_puback_and_retain_becomes_a_property() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    let mut publish = Publish::new("devices/dev1/messages/events", QoS::AtMostOnce, "x");
    publish.retain = true;
    device.send(&Packet::Publish(publish)).await;
    device.expect_silence().await;
    assert_eq!(
        bench.messages().await[0]["properties"],
        json!({"mqtt-retain": "true"})
    );
}

#[tokio::test]
async fn a_message_of_256_kib_is_taken_and_one_byte_more_is_not() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    let pkid = device
        .publish(&device.telemetry("ab=cd"), vec![b'x'; 256 * 1024 - 4])
        .await;
    device.expect_puback(pkid).await;
    let small = device.publish(&device.telemetry(""), "kept").await;
    device
        .publish(&device.telemetry("ab=cd"), vec![b'x'; 256 * 1024 - 3])
        .await;
    device.expect_puback(small).await;
    device.expect_closed().await;
    assert_eq!(bench.messages().await.len(), 2);
}
