//! Device-to-cloud messages: what arrives, and what a broken connection does to it.

use crate::support::{Bench, PATIENCE, eventually};
use std::time::{Duration, Instant};

use super::queue::{check, send_all};
use super::{Peer, numbered, numbers, options};
use iothub_client::protocol::Message;
use iothub_client::{DisconnectReason, SendError};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

#[tokio::test]
async fn a_message_arrives_with_its_properties_for_device_and_module() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for (index, (client_id, module)) in [("dev1", json!(null)), ("dev1/gateway", json!("gateway"))]
        .into_iter()
        .enumerate()
    {
        let peer = Peer::start(&bench, client_id).await;
        let mut message = Message::json(r#"{"temperature":21.50,"big":18446744073709551615}"#);
        message.id = Some("reader:press-1:fast:01:7".to_owned());
        message.correlation_id = Some("c#+1".to_owned());
        message.creation_time = Some("2026-01-02T03:04:05Z".to_owned());
        message.system = vec![("$.uid".to_owned(), "some/one".to_owned())];
        message.properties = vec![
            ("a key".to_owned(), "a/b&c=d".to_owned()),
            ("größe".to_owned(), "π %".to_owned()),
            ("empty".to_owned(), String::new()),
        ];
        let session = peer.session().await;
        timeout(PATIENCE, session.publish(message).await.unwrap())
            .await
            .unwrap()
            .unwrap();
        let binary = Message::new(vec![0, 0xff, 1]);
        timeout(PATIENCE, session.publish(binary).await.unwrap())
            .await
            .unwrap()
            .unwrap();

        let (_, text) = bench.http_text("GET", "/messages", "").await;
        let line = text.lines().nth(index * 2).unwrap();
        assert!(
            line.contains(r#""body":{"temperature":21.50,"big":18446744073709551615}"#),
            "digit for digit: {line}"
        );
        let messages = bench.messages().await;
        assert_eq!(messages.len(), index * 2 + 2);
        let message = &messages[index * 2];
        assert_eq!(
            (&message["device"], &message["module"]),
            (&json!("dev1"), &module)
        );
        assert_eq!(
            message["properties"],
            json!({"a key": "a/b&c=d", "größe": "π %", "empty": "", "iothub-creation-time-utc": "2026-01-02T03:04:05Z"})
        );
        assert_eq!(
            message["system"],
            json!({
                "message-id": "reader:press-1:fast:01:7", "correlation-id": "c#+1", "content-type": "application/json",
                "content-encoding": "utf-8", "user-id": "some/one"
            })
        );
        assert_eq!(messages[index * 2 + 1]["body_base64"], "AP8B");
        peer.client.stop().await;
    }
}

/// Throttling: PUBACKs come late, and no more than the window is under way.
#[tokio::test]
async fn late_pubacks_fill_the_window_and_no_more() {
    const WINDOW: u16 = 8;
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.window = WINDOW;
    let peer = Peer::with(options);
    let session = peer.session().await;
    bench
        .fault(r#"{"kind":"delay-puback","milliseconds":100,"seconds":600}"#)
        .await;
    let begun = Instant::now();
    let mut deliveries = Vec::new();
    for number in 0..5 * usize::from(WINDOW) {
        deliveries.push(session.publish(numbered(number, &session)).await.unwrap());
    }
    for delivery in deliveries {
        timeout(PATIENCE, delivery).await.unwrap().unwrap();
    }
    let elapsed = begun.elapsed();
    // Each window waits for the one before; with one message more under way it would be faster.
    assert!(
        elapsed >= Duration::from_millis(500),
        "five windows in {elapsed:?}"
    );
    assert!(numbers(&bench).await.into_iter().eq(0..40));
    assert_eq!(session.generation(), peer.session().await.generation());
}

/// The watchdog: a PUBACK that never comes costs a connection, not a message.
#[tokio::test]
async fn a_swallowed_puback_makes_the_caller_send_again_under_the_same_id() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.puback_timeout = Duration::from_millis(300);
    let mut peer = Peer::with(options);
    peer.ready().await;
    peer.tell(0).await;
    bench.fault(r#"{"kind":"swallow-puback","count":1}"#).await;
    let progress = watch::Sender::new(0);
    let turns = send_all(&peer.client, 1, 21, &progress).await;
    let reason = peer.disconnected().await;
    assert!(
        matches!(reason, DisconnectReason::AckTimeout { .. }),
        "{reason}"
    );
    assert_eq!(turns.len(), 2, "{turns:?}");
    assert_eq!((turns[0].acknowledged, turns[1].first), (0, 1), "{turns:?}");
    // `numbers` looks at the ids.
    let numbers = numbers(&bench).await;
    assert_eq!(numbers, (0..21).chain(1..21).collect::<Vec<_>>());
}

/// The promise of the whole line, with the least of a queue above it.
#[tokio::test]
async fn twenty_thousand_messages_survive_drops_at_any_time() {
    const COUNT: usize = 20_000;
    const DROPS: usize = 12;
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.window = 100;
    let peer = Peer::with(options);
    let mut points: Vec<usize> = (0..DROPS)
        .map(|_| rand::random_range(1..COUNT - 1000))
        .collect();
    points.sort_unstable();
    let progress = watch::Sender::new(0);
    let mut seen = progress.subscribe();
    let send = send_all(&peer.client, 0, COUNT, &progress);
    let drop_connections = async {
        for point in &points {
            seen.wait_for(|acknowledged| acknowledged >= point)
                .await
                .unwrap();
            bench.fault(r#"{"kind":"drop"}"#).await;
        }
    };
    let (turns, ()) = tokio::join!(send, drop_connections);
    check(&bench, &turns).await;
    // Drops that follow each other at once can meet the same connection.
    assert!(turns.len() > DROPS / 3, "{points:?} led to {turns:?}");
    let again: usize = turns
        .iter()
        .map(|turn| turn.taken - turn.acknowledged)
        .sum();
    assert!(again <= turns.len() * 100, "at most a window each");
    println!("{} connections, {again} messages sent again", turns.len());
    peer.client.stop().await;
}

#[tokio::test]
async fn what_the_hub_would_refuse_never_costs_the_connection() {
    let bench = Bench::start().await;
    let peer = Peer::start(&bench, "dev1").await;
    let session = peer.session().await;
    // One byte above the limit is refused here, at the limit the hub takes it.
    let limit = 256 * 1024;
    let error = session.publish(Message::new(vec![0; limit + 1])).await;
    assert!(
        matches!(error, Err(SendError::TooLarge { .. })),
        "{error:?}"
    );
    let mut message = Message::new(vec![b'x'; limit - 7]);
    message.properties = vec![("key".to_owned(), "four".to_owned())];
    timeout(PATIENCE, session.publish(message).await.unwrap())
        .await
        .unwrap()
        .unwrap();
    eventually("the message", async || {
        (bench.messages().await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(peer.session().await.generation(), 1);
}
