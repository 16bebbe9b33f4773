//! The sidecar's real path: our client against daprd over NATS JetStream.
//!
//! Needs the programs of target/platform, which scripts/demo and scripts/test build once; FIELDGATE_PLATFORM_DIR names another
//! folder, FIELDGATE_DAPRD and FIELDGATE_NATS_SERVER other programs.

// A test ends with a panic; clippy knows that only inside of #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delivery;
mod site;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use module_runtime::sidecar::{OutgoingEvent, Subscription};
use module_runtime::{CommandError, Commands, Delivery, Sidecar, SidecarError};
use serde_json::{Value, json};
use site::Site;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn event(number: u64) -> OutgoingEvent {
    let id = format!("reader/press-1/fast/e/{number}");
    let body = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/fieldgate/a/reader","type":"t","data":{{"sequence":{number},"values":{{"u":{},"f":0.1}}}}}}"#,
        u64::MAX - number
    );
    OutgoingEvent {
        id,
        body: Bytes::from(body),
    }
}

fn subscription(dead_letter: Option<&str>) -> Subscription {
    Subscription {
        pubsub: "pubsub-telemetry".to_owned(),
        topic: "telemetry".to_owned(),
        dead_letter: dead_letter.map(str::to_owned),
        buffer: 256,
    }
}

async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> Delivery {
    tokio::time::timeout(PATIENCE, deliveries.recv())
        .await
        .expect("nothing was delivered")
        .expect("the subscription ended")
}

/// A sidecar needs a moment; what a module does in it is try again.
async fn publish(sidecar: &dyn Sidecar, topic: &str, events: &[OutgoingEvent]) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match sidecar.publish("pubsub", topic, events).await {
            Ok(report) if report.failed.is_empty() => return,
            outcome => {
                assert!(tokio::time::Instant::now() < until, "{outcome:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn healthy(sidecar: &dyn Sidecar) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !sidecar.healthy().await {
        assert!(tokio::time::Instant::now() < until, "never healthy");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn events_come_through_exactly_and_what_was_not_accepted_comes_again() {
    let mut site = Site::start(0);
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));

    // Without a sidecar a call fails in a way that says: again.
    let error = sidecar
        .publish("pubsub", "telemetry", &[event(1)])
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(!sidecar.healthy().await);

    site.start_daprd();
    healthy(&*sidecar).await;
    // More than one message holds.
    let events: Vec<OutgoingEvent> = (1..=1500).map(event).collect();
    publish(&*sidecar, "telemetry", &events).await;
    // Published twice: the broker drops what repeats an id.
    publish(&*sidecar, "telemetry", &events[..10]).await;

    let mut missing: BTreeSet<Bytes> = events.iter().map(|event| event.body.clone()).collect();
    let mut refused = Vec::new();
    let mut dropped = false;
    while !missing.is_empty() {
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.topic, "telemetry");
        let number = serde_json::from_slice::<Value>(&delivery.body).unwrap()["data"]["sequence"]
            .as_u64()
            .unwrap();
        // The first hundred are refused once, one of them by dropping it.
        if number <= 100 && !refused.contains(&number) {
            refused.push(number);
            if dropped {
                delivery.retry();
            } else {
                dropped = true;
                drop(delivery);
            }
            continue;
        }
        // At least once: one that waited longer than the broker's patience may come twice.
        missing.remove(&delivery.body);
        delivery.accept();
    }
    assert_eq!(refused.len(), 100);

    // The sidecar dies and comes back: the subscription and the calls go on.
    site.kill_daprd();
    site.start_daprd();
    let again = event(5000);
    publish(&*sidecar, "telemetry", std::slice::from_ref(&again)).await;
    accept_until(&mut deliveries, &again).await;

    // A receiver that goes away can still answer what it holds: the next one gets only what is new.
    let (held, fresh) = (event(5001), event(5002));
    publish(&*sidecar, "telemetry", std::slice::from_ref(&held)).await;
    let delivery = loop {
        let delivery = next(&mut deliveries).await;
        if delivery.body == held.body {
            break delivery;
        }
        delivery.accept();
    };
    drop(deliveries);
    delivery.accept();
    publish(&*sidecar, "telemetry", std::slice::from_ref(&fresh)).await;
    let mut deliveries = sidecar.subscribe(subscription(None));
    let before = accept_until(&mut deliveries, &fresh).await;
    assert!(!before.contains(&held.body), "its answer was lost");
}

/// Accepts deliveries up to the one given; what came before it.
async fn accept_until(
    deliveries: &mut mpsc::Receiver<Delivery>,
    last: &OutgoingEvent,
) -> Vec<Bytes> {
    let mut before = Vec::new();
    loop {
        let delivery = next(deliveries).await;
        let body = delivery.body.clone();
        delivery.accept();
        if body == last.body {
            return before;
        }
        before.push(body);
    }
}

#[tokio::test]
async fn rejected_events_go_to_the_dead_letter_topic() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(Some("deadletter")));
    let mut dead = sidecar.subscribe(Subscription {
        pubsub: "pubsub-deadletter".to_owned(),
        topic: "deadletter".to_owned(),
        ..subscription(None)
    });
    publish(&*sidecar, "telemetry", &[event(7)]).await;
    next(&mut deliveries).await.reject();
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.body, event(7).body);
    delivery.accept();
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    healthy(&*sidecar).await;
    let unknown = sidecar
        .publish("no-such", "telemetry", &[event(1)])
        .await
        .unwrap_err();
    assert!(matches!(unknown, SidecarError::Refused { .. }), "{unknown}");
    assert!(!unknown.is_retryable(), "{unknown}");

    let secret = sidecar.secret("secrets", "iothub").await.unwrap();
    assert_eq!(secret["connection-string"], "HostName=h");
    let missing = sidecar.secret("secrets", "none").await;
    let no_store = sidecar.secret("none", "iothub").await.unwrap_err();
    assert!(!no_store.is_retryable(), "{no_store}");
    assert!(missing.is_err(), "{missing:?}");

    // The broker goes: a publish is refused, and may work later.
    site.kill_broker();
    let error = match sidecar.publish("pubsub", "telemetry", &[event(2)]).await {
        Err(error) => error,
        Ok(report) => {
            assert_eq!(report.failed.len(), 1);
            return;
        }
    };
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_command_is_invoked_through_the_sidecar() {
    let commands = Commands::new();
    commands.add("echo", "Gives back its input", async |input: Value| {
        if input["fail"] == true {
            let long = "x".repeat(1000);
            return Err(CommandError::bad_request("too-hot", long).at("fail"));
        }
        Ok(input)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app_port = listener.local_addr().unwrap().port();
    let mut site = Site::start(app_port);
    let router = commands.router(site.args.app_api_token.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    site.start_daprd();
    let sidecar = site.sidecar();
    healthy(&*sidecar).await;

    let invoke = async |method: &'static str, body: Value| {
        let body = Bytes::from(body.to_string());
        sidecar
            .invoke("module", method, body, PATIENCE)
            .await
            .unwrap()
    };
    let reply = invoke("echo", json!({"value": u64::MAX})).await;
    assert_eq!(
        (reply.status, &*reply.body),
        (200, &br#"{"value":18446744073709551615}"#[..])
    );
    let reply = invoke("echo", json!({"fail": true})).await;
    assert_eq!(reply.status, 400);
    let error: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(error["error"]["field"], "fail");
    assert_eq!(error["error"]["message"].as_str().unwrap().len(), 1000);
    assert_eq!(invoke("none", json!({})).await.status, 404);
}
