//! From one server to three and back, with everything that is stored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream;
use async_nats::{Client, HeaderMap, jetstream};
use broker_setup::{Missing, Plan, SetupError, StreamLimits, reconcile, reconcile_with, save};
use futures_util::TryStreamExt;

use crate::server::{PATIENCE, Server};

/// Of one request for events.
const ATTEMPT: Duration = Duration::from_secs(3);
/// nats-server's JSStreamNameExistRestoreFailedErr.
const NAME_IN_USE: &str = "\"err_code\":10130";
const STREAMS: [&str; 2] = ["fieldgate", "fieldgate-kept"];

fn plan(replicas: u8) -> Plan {
    Plan::standard(
        &StreamLimits::default(),
        &[("iothub-module", "telemetry")],
        replicas,
    )
}

/// Publishes as a module's sidecar does: again with the same id until the broker has confirmed, for a cluster that has just lost its
/// leader knows no stream.
async fn publish(client: &Client, topic: &str, count: usize) {
    static BATCHES: AtomicUsize = AtomicUsize::new(0);
    let batch = BATCHES.fetch_add(1, Ordering::Relaxed);
    let context = jetstream::new(client.clone());
    let confirmed = async |number: usize| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{batch}/{number}"));
        let text = format!("{topic} {number}");
        let sent = context.publish_with_headers(topic.to_owned(), headers, text.into());
        match sent.await {
            Ok(confirmation) => confirmation.await.is_ok(),
            Err(_) => false,
        }
    };
    let publishing = async {
        for number in 0..count {
            while !confirmed(number).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, publishing).await.unwrap();
}

/// Takes and confirms the next events, until there are so many.
async fn take(client: &Client, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    let taking = async {
        while texts.len() < count {
            // A cluster that has just lost its leader says nothing, or says no.
            let taking = take_some(client, count - texts.len(), &mut texts);
            let _ = tokio::time::timeout(ATTEMPT, taking).await;
        }
    };
    let taken = tokio::time::timeout(PATIENCE, taking).await;
    assert!(
        taken.is_ok(),
        "{} of {count}: {:?}",
        texts.len(),
        consumer(client).await.map(|one| one.cached_info().clone())
    );
    texts
}

async fn consumer(client: &Client) -> Result<PullConsumer, async_nats::Error> {
    let context = jetstream::new(client.clone());
    let found = context.get_consumer_from_stream("iothub-module-telemetry", "fieldgate");
    Ok(found.await?)
}

async fn take_some(
    client: &Client,
    count: usize,
    texts: &mut Vec<String>,
) -> Result<(), async_nats::Error> {
    let mut events = consumer(client)
        .await?
        .fetch()
        .max_messages(count)
        .messages()
        .await?;
    while let Some(event) = events.try_next().await? {
        event.double_ack().await?;
        texts.push(String::from_utf8_lossy(&event.payload).into_owned());
    }
    Ok(())
}

async fn state(client: &Client, name: &str) -> stream::Info {
    let context = jetstream::new(client.clone());
    context
        .get_stream(name)
        .await
        .unwrap()
        .cached_info()
        .clone()
}

/// As the set-up of a pod does it: until it works.
async fn settle(client: &Client, plan: &Plan, missing: Missing<'_>) {
    let mut last = None;
    let settled = async {
        while let Err(error) = reconcile_with(client, plan, missing).await {
            assert!(
                matches!(
                    error,
                    SetupError::NoAnswer { .. }
                        | SetupError::Awaited { .. }
                        | SetupError::Refused { .. }
                ),
                "{error}"
            );
            last = Some(error);
        }
    };
    let settled = tokio::time::timeout(4 * PATIENCE, settled).await;
    assert!(settled.is_ok(), "{missing:?}: {last:?}");
}

/// Every replica of every stream and of the consumer has everything.
async fn replicated(client: &Client, peers: usize) {
    let all_current = async {
        loop {
            let mut current = 0;
            let mut clusters = Vec::new();
            for name in STREAMS {
                clusters.push(state(client, name).await.cluster);
            }
            clusters.push(
                consumer(client)
                    .await
                    .unwrap()
                    .cached_info()
                    .cluster
                    .clone(),
            );
            for cluster in clusters.iter().flatten() {
                current += cluster.replicas.iter().filter(|one| one.current).count();
            }
            if current == 3 * peers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Consumers come to the other servers some ten seconds after the stream.
    tokio::time::timeout(3 * PATIENCE, all_current)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_server_becomes_three_and_one_again_with_all_it_holds() {
    let (one, three) = (plan(1), plan(3));
    let alone = Server::running(&one);
    let setup = alone.client("setup").await;
    reconcile(&setup, &one).await.unwrap();
    let reader = alone.client("modbus-reader").await;
    let hub = alone.client("iothub-module").await;
    publish(&reader, "telemetry", 50).await;
    publish(&hub, "commands", 7).await;
    assert_eq!(take(&hub, 20).await.len(), 20);
    let before = (
        state(&setup, STREAMS[0]).await,
        state(&setup, STREAMS[1]).await,
    );
    let folder = tempfile::tempdir().unwrap();
    for name in STREAMS {
        save(&setup, name, folder.path()).await.unwrap();
    }
    let keys = alone;

    let mut servers = Server::cluster(&three, &keys, 3);
    for server in &mut servers {
        server.start();
    }
    // All three at once, as the set-ups of three pods.
    let (first, second, third) = (
        servers[0].client("setup").await,
        servers[1].client("setup").await,
        servers[2].client("setup").await,
    );
    tokio::join!(
        settle(&first, &three, Missing::Restore(folder.path())),
        settle(&second, &three, Missing::Await),
        settle(&third, &three, Missing::Await),
    );
    for (name, before) in STREAMS.iter().zip([&before.0, &before.1]) {
        let now = state(&second, name).await;
        assert_eq!(now.config.num_replicas, 3);
        assert_eq!(now.state.messages, before.state.messages, "{name}");
        assert_eq!(now.state.last_sequence, before.state.last_sequence);
        assert_eq!(now.state.first_timestamp, before.state.first_timestamp);
    }
    assert!(
        !folder.path().join("fieldgate.stream").exists(),
        "used once only"
    );
    replicated(&first, 2).await;

    // One of three goes; what it held is elsewhere.
    servers[0].kill();
    let hub = servers[1].client("iothub-module").await;
    let taken = take(&hub, 10).await;
    assert_eq!(taken[0], "telemetry 20", "goes on where it was");
    publish(&servers[2].client("modbus-reader").await, "telemetry", 5).await;

    let back = tempfile::tempdir().unwrap();
    for name in STREAMS {
        save(&third, name, back.path()).await.unwrap();
    }
    drop(servers);
    let mut alone = Server::cluster(&one, &keys, 1).remove(0);
    alone.leave(&one);
    alone.start();
    let setup = alone.client("setup").await;
    settle(&setup, &one, Missing::Restore(back.path())).await;
    let kept = state(&setup, STREAMS[1]).await;
    assert_eq!((kept.config.num_replicas, kept.state.messages), (1, 7));
    let rest = take(&alone.client("iothub-module").await, 25).await;
    assert_eq!(
        (rest[0].as_str(), rest[24].as_str()),
        ("telemetry 30", "telemetry 4")
    );
}

/// Whoever restores may be killed at any moment, and nats-server keeps the name of a stream whose pieces never came.
#[tokio::test]
async fn a_restoration_that_was_cut_off_is_begun_anew() {
    let (one, three) = (plan(1), plan(3));
    let alone = Server::running(&one);
    let setup = alone.client("setup").await;
    reconcile(&setup, &one).await.unwrap();
    publish(&alone.client("modbus-reader").await, "telemetry", 50).await;
    let folder = tempfile::tempdir().unwrap();
    for name in STREAMS {
        save(&setup, name, folder.path()).await.unwrap();
    }

    let mut servers = Server::cluster(&three, &alone, 3);
    for server in &mut servers {
        server.start();
    }
    let first = servers[0].client("setup").await;
    let begun = async {
        // As a set-up does it that ends right after.
        let saved = std::fs::read(folder.path().join("fieldgate.stream")).unwrap();
        let head = saved.split(|byte| *byte == b'\n').next().unwrap();
        let mut head: serde_json::Value = serde_json::from_slice(head).unwrap();
        head["config"]["num_replicas"] = 1.into();
        let head = head.to_string();
        loop {
            let asked = first.request("$JS.API.STREAM.RESTORE.fieldgate", head.clone().into());
            let Ok(Ok(answer)) = tokio::time::timeout(ATTEMPT, asked).await else {
                continue;
            };
            // A request whose answer came too late has begun it too: from then on the name is in use.
            let answer = String::from_utf8_lossy(&answer.payload).into_owned();
            if !answer.contains("error") || answer.contains(NAME_IN_USE) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let begun = tokio::time::timeout(4 * PATIENCE, begun).await;
    let logs: Vec<String> = servers.iter().map(Server::log).collect();
    assert!(begun.is_ok(), "no restoration was begun: {logs:#?}");

    settle(&first, &three, Missing::Restore(folder.path())).await;
    assert_eq!(state(&first, STREAMS[0]).await.state.messages, 50);
}
