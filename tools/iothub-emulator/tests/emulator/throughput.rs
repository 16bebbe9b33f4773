//! How many messages the emulator takes, to know that it is not what a benchmark measures. Not a test:
//! `cargo test --release -p iothub-emulator --test emulator -- --ignored --nocapture`

use std::time::Instant;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};

use crate::support::Bench;

const CHUNK: u16 = 500;
const CHUNKS: u16 = 100;
const BODY: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn telemetry_per_second() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    let body = format!("{{\"values\":\"{}\"}}", "x".repeat(BODY - 13));
    let topic = device.telemetry("%24.mid=reader%3Adev%3Afast%3A1&%24.ct=application%2Fjson&%24.ce=utf-8&type=com.fieldgate.measurements.v1");
    let mut bytes = BytesMut::new();
    for pkid in 1..=CHUNK {
        let mut publish = Publish::new(topic.clone(), QoS::AtLeastOnce, body.clone());
        publish.pkid = pkid;
        publish.write(&mut bytes).unwrap();
    }
    let begun = Instant::now();
    // Two chunks in flight, one after another, so that the emulator never waits for the client.
    device.send_bytes(&bytes).await;
    for chunk in 1..=CHUNKS {
        if chunk < CHUNKS {
            device.send_bytes(&bytes).await;
        }
        for _ in 0..CHUNK {
            assert!(matches!(device.receive().await, Packet::PubAck(_)));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let messages = u64::from(CHUNK) * u64::from(CHUNKS);
    assert_eq!(
        bench.http("GET", "/messages/count", "").await.1["count"],
        messages
    );
    println!(
        "{messages} messages of {BODY} bytes, QoS 1, TLS, one connection: {:.0} per second",
        messages as f64 / seconds
    );
}
