//! Outages: what the caller sees of them, and that work goes on after each.

use std::time::Duration;

use super::queue::{check, send_all};
use super::{Peer, numbered, numbers, options};
use crate::support::{Bench, PATIENCE, eventually};
use iothub_client::protocol::RetryPolicy;
use iothub_client::{ConnectionState, DisconnectReason, SendError};
use tokio::sync::watch;
use tokio::time::timeout;

#[tokio::test]
async fn a_refusal_is_named_and_ends_by_itself() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.tell(0).await;
    bench.fault(r#"{"kind":"refuse","seconds":600}"#).await;
    bench.fault(r#"{"kind":"drop"}"#).await;
    let reason = peer.disconnected().await;
    assert!(matches!(reason, DisconnectReason::Lost { .. }), "{reason}");
    let state = peer
        .state("the refusal", |state| {
            matches!(state, ConnectionState::Disconnected { reason, attempt, .. } if reason.is_refusal() && *attempt >= 3)
        })
        .await;
    let ConnectionState::Disconnected {
        reason, retry_in, ..
    } = state
    else {
        unreachable!()
    };
    assert!(
        reason.to_string().contains("refused dev1: wrong key"),
        "{reason}"
    );
    assert!(
        retry_in >= Duration::from_millis(20),
        "refusals wait longer: {retry_in:?}"
    );
    bench.http("DELETE", "/faults", "").await;
    peer.tell(1).await;
    assert_eq!(
        peer.session().await.generation(),
        2,
        "a refused CONNECT is no connection"
    );
    assert_eq!(numbers(&bench).await, [0, 1]);
}

/// The key is replaced in the registry while the device is connected, then the old one comes back.
#[tokio::test]
async fn a_wrong_key_is_a_refusal_until_it_is_right() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let body = r#"{"primaryKey":"d3Jvbmcga2V5"}"#;
    assert_eq!(bench.http("PUT", "/devices/dev1", body).await.0, 200);
    let peer = Peer::with(options(&bench, &login));
    peer.state(
        "the refusal",
        |state| matches!(state, ConnectionState::Disconnected { reason, .. } if reason.is_refusal()),
    )
    .await;
    let body = format!(r#"{{"primaryKey":"{}"}}"#, login.key.to_base64());
    assert_eq!(bench.http("PUT", "/devices/dev1", &body).await.0, 200);
    peer.tell(0).await;
}

#[tokio::test]
async fn a_dropped_connection_fails_what_is_under_way_and_is_made_anew() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.ready().await;
    bench
        .fault(r#"{"kind":"delay-puback","milliseconds":600000,"seconds":600}"#)
        .await;
    let session = peer.session().await;
    let mut deliveries = Vec::new();
    for number in 0..10 {
        deliveries.push(session.publish(numbered(number, &session)).await.unwrap());
    }
    eventually("ten messages", async || {
        (bench.messages().await.len() == 10).then_some(())
    })
    .await;
    bench.http("DELETE", "/faults", "").await;
    bench.fault(r#"{"kind":"drop"}"#).await;
    for delivery in deliveries {
        assert_eq!(
            timeout(PATIENCE, delivery).await.unwrap(),
            Err(SendError::ConnectionLost)
        );
    }
    let reason = peer.disconnected().await;
    assert!(matches!(reason, DisconnectReason::Lost { .. }), "{reason}");
    assert_eq!(
        session.publish(numbered(10, &session)).await.unwrap_err(),
        SendError::ConnectionLost
    );
    // Nothing was sent again behind the caller's back.
    peer.tell(10).await;
    assert!(numbers(&bench).await.into_iter().eq(0..=10));
}

#[tokio::test]
async fn a_hub_that_is_down_for_a_while_is_waited_for() {
    const COUNT: usize = 5_000;
    let bench = Bench::start().await;
    let peer = Peer::start(&bench, "dev1").await;
    let progress = watch::Sender::new(0);
    let mut seen = progress.subscribe();
    let send = send_all(&peer.client, 0, COUNT, &progress);
    let outage = async {
        seen.wait_for(|acknowledged| *acknowledged >= COUNT / 3)
            .await
            .unwrap();
        bench.fault(r#"{"kind":"down","seconds":1.5}"#).await;
        let state = peer
            .state(
                "an attempt in vain",
                |state| matches!(state, ConnectionState::Disconnected { attempt, .. } if *attempt >= 3),
            )
            .await;
        let ConnectionState::Disconnected { reason, .. } = state else {
            unreachable!()
        };
        assert!(
            matches!(reason, DisconnectReason::Unreachable { .. }),
            "{reason}"
        );
        peer.state("the end of the outage", ConnectionState::is_connected)
            .await;
    };
    let (turns, ()) = tokio::join!(send, outage);
    assert_eq!(turns.len(), 2, "{turns:?}");
    check(&bench, &turns).await;
}

/// Two installations with one identity, a usual mistake: each connection ends the other's. Waits grow, so that it does not become a storm,
/// and what is sent stays in order.
#[tokio::test]
async fn a_second_connection_of_the_same_identity_takes_over() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.retry = RetryPolicy {
        lost: (Duration::from_millis(20), Duration::from_secs(5)),
        ..options.retry
    };
    let mut mine = Peer::with(options.clone());
    mine.tell(0).await;
    let other = Peer::with(options);
    other.tell(0).await;
    let reason = mine.disconnected().await;
    assert!(
        matches!(&reason, DisconnectReason::Lost { host, .. } if host == "localhost"),
        "{reason}"
    );
    let state = mine
        .state("growing waits", |state| {
            matches!(state, ConnectionState::Disconnected { attempt: 5.., .. })
        })
        .await;
    let ConnectionState::Disconnected { retry_in, .. } = state else {
        unreachable!()
    };
    assert!(retry_in >= Duration::from_millis(160), "{retry_in:?}");
    other.client.stop().await;

    let before = bench.messages().await.len();
    let progress = watch::Sender::new(0);
    let turns = send_all(&mine.client, 1, 300, &progress).await;
    assert_eq!(turns.len(), 1, "{turns:?}");
    assert!(numbers(&bench).await[before..].iter().copied().eq(1..300));
}
