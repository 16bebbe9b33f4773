//! Renewal of the SAS token: a planned end of a connection that nobody but the log notices.

use std::time::Duration;

use super::queue::{check, send_all};
use super::{Peer, numbers, options};
use crate::support::{Bench, PATIENCE};
use iothub_client::{ConnectionState, DisconnectReason, HubEvent};
use tokio::sync::watch;
use tokio::time::timeout;

/// With a full window all the time, so that each renewal has to wait for PUBACKs.
#[tokio::test]
async fn renewals_neither_lose_nor_repeat_nor_reorder() {
    const RENEWALS: u64 = 3;
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    bench
        .fault(r#"{"kind":"delay-puback","milliseconds":20,"seconds":600}"#)
        .await;
    let mut options = options(&bench, &login);
    options.sas_lifetime = Duration::from_secs(1);
    options.window = 32;
    let mut peer = Peer::with(options);
    let progress = watch::Sender::new(0);
    let mut turns = Vec::new();
    let mut sent = 0;
    // In portions, because the number of messages until the last renewal is not known.
    while peer.session().await.generation() <= RENEWALS {
        turns.extend(send_all(&peer.client, sent, sent + 200, &progress).await);
        sent += 200;
    }
    assert!(
        numbers(&bench).await.into_iter().eq(0..sent),
        "each message once and in order"
    );
    // A portion ends in the middle of a connection: the turns of one connection belong together.
    let mut joined: Vec<super::queue::Turn> = Vec::new();
    for turn in turns {
        assert_eq!(turn.taken, turn.acknowledged, "no message failed: {turn:?}");
        match joined.last_mut() {
            Some(last) if last.generation == turn.generation => {
                last.taken += turn.taken;
                last.acknowledged += turn.acknowledged;
            }
            _ => joined.push(turn),
        }
    }
    check(&bench, &joined).await;
    peer.client.clone().stop().await;
    let mut renewals = 0;
    while let Some(event) = timeout(PATIENCE, peer.events.recv()).await.unwrap() {
        match event {
            HubEvent::Disconnected {
                reason: DisconnectReason::Renewal,
            } => renewals += 1,
            HubEvent::Disconnected { reason } => assert_eq!(reason, DisconnectReason::Stopped),
            _ => {}
        }
    }
    assert!(renewals >= RENEWALS, "{renewals}");
}

/// A client that sends nothing renews as well, and the hub never has to end a connection over an old token.
#[tokio::test]
async fn an_idle_client_renews_in_time() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.sas_lifetime = Duration::from_secs(1);
    let mut peer = Peer::with(options);
    for _ in 0..2 {
        assert_eq!(peer.disconnected().await, DisconnectReason::Renewal);
    }
    peer.state("the third connection", |state| {
        matches!(state, ConnectionState::Connected { generation: 3, .. })
    })
    .await;
}

/// A PUBACK gets lost just before a renewal: the renewal does not wait for it in vain, and the caller sends again.
#[tokio::test]
async fn a_renewal_with_a_lost_puback_still_happens() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.sas_lifetime = Duration::from_secs(2);
    // Runs out after the renewal has begun (at most 1.7 s) and before the token does.
    options.puback_timeout = Duration::from_millis(1800);
    options.drain_timeout = Duration::from_secs(600);
    let mut peer = Peer::with(options);
    peer.ready().await;
    bench.fault(r#"{"kind":"swallow-puback","count":1}"#).await;
    let progress = watch::Sender::new(0);
    let turns = send_all(&peer.client, 0, 10, &progress).await;
    assert_eq!(peer.disconnected().await, DisconnectReason::Renewal);
    assert_eq!((turns.len(), turns[0].acknowledged), (2, 0), "{turns:?}");
    check(&bench, &turns).await;
}
