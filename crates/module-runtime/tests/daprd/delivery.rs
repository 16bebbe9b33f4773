//! What the JetStream component promises (image/dapr/jetstream): nothing is lost whoever dies, and nothing is held up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use module_runtime::{Delivery, Sidecar};
use tokio::sync::mpsc;

use super::site::{ACK_WAIT, MAX_ACK_PENDING, REDELIVER_DELAY, Site};
use super::{PATIENCE, event, healthy, next, publish, subscription};

/// More than two of the component's heartbeats.
const OUTAGE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_refused_event_comes_again_after_its_delay() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));
    publish(&*sidecar, "telemetry", &[event(1)]).await;
    let refused = next(&mut deliveries).await;
    let began = Instant::now();
    refused.retry();
    let again = next(&mut deliveries).await;
    assert_eq!(again.body, event(1).body);
    assert!(began.elapsed() >= REDELIVER_DELAY, "{:?}", began.elapsed());
    again.accept();
    // Accepted, it does not come a third time: the next one is the next one.
    publish(&*sidecar, "telemetry", &[event(2)]).await;
    let other = next(&mut deliveries).await;
    assert_eq!(other.body, event(2).body);
    other.accept();
}

#[tokio::test]
async fn what_a_vanished_subscriber_held_comes_again() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    publish(&*sidecar, "telemetry", &[event(1)]).await;

    // A module that dies: its connection ends without a word.
    let module = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dying = site.sidecar();
    let held = module
        .spawn(async move {
            let mut deliveries = dying.subscribe(subscription(None));
            let held = next(&mut deliveries).await;
            (held, deliveries)
        })
        .await
        .unwrap();
    assert_eq!(held.0.body, event(1).body);
    module.shutdown_background();
    let mut deliveries = sidecar.subscribe(subscription(None));
    let again = next(&mut deliveries).await;
    assert_eq!(again.body, event(1).body);
    drop(held);

    // A sidecar that dies takes the answer with it.
    site.kill_daprd();
    again.accept();
    site.start_daprd();
    let again = next(&mut deliveries).await;
    assert_eq!(again.body, event(1).body);
    again.accept();
}

#[tokio::test]
async fn many_events_are_out_at_once_and_none_comes_twice_while_it_is_worked_on() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));
    let last = u64::try_from(MAX_ACK_PENDING).unwrap() + 1;
    let events: Vec<_> = (1..=last).map(event).collect();
    publish(&*sidecar, "telemetry", &events).await;

    let mut held = BTreeMap::new();
    while held.len() < MAX_ACK_PENDING {
        let delivery = next(&mut deliveries).await;
        let before = held.insert(delivery.body.clone(), delivery);
        assert!(before.is_none(), "{before:?} came twice");
    }
    // Longer than the broker waits for a sidecar: this one says that it is still at work.
    let early = tokio::time::timeout(ACK_WAIT * 3, deliveries.recv()).await;
    assert!(early.is_err(), "beyond the bound, or twice: {early:?}");
    for (_, delivery) in held {
        delivery.accept();
    }
    let rest = next(&mut deliveries).await;
    assert_eq!(rest.body, event(last).body);
    rest.accept();
}

#[tokio::test]
async fn a_broker_that_dies_loses_nothing() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));
    let events: Vec<_> = (1..=40).map(event).collect();
    let mut missing: BTreeSet<Bytes> = events.iter().map(|event| event.body.clone()).collect();
    let (before, after) = events.split_at(20);
    publish(&*sidecar, "telemetry", before).await;
    let slow = next(&mut deliveries).await;
    let mut held = Vec::new();
    while held.len() < 10 {
        held.push(next(&mut deliveries).await);
    }

    // Answers that the broker never gets, and a publish that it does not confirm.
    site.kill_broker();
    for delivery in held {
        delivery.accept();
    }
    let refused = sidecar.publish("pubsub", "telemetry", after).await;
    match refused {
        Ok(report) => assert!(!report.failed.is_empty()),
        Err(error) => assert!(error.is_retryable(), "{error}"),
    }
    // Long enough for the component to miss the broker's heartbeat and to ask for its consumer anew.
    tokio::time::sleep(OUTAGE).await;
    site.start_broker();
    publish(&*sidecar, "telemetry", after).await;
    // One that is worked on all the while holds up no other.
    missing.remove(&slow.body);
    accept_all(&mut deliveries, &mut missing).await;
    slow.accept();
}

#[tokio::test]
async fn a_broker_that_forgot_its_consumers_gets_them_again() {
    let mut site = Site::start(0);
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));
    publish(&*sidecar, "telemetry", &[event(1)]).await;
    let slow = next(&mut deliveries).await;
    site.kill_broker();
    site.start_empty_broker();
    publish(&*sidecar, "telemetry", &[event(2)]).await;
    // While the module still works on what the old broker gave.
    let fresh = next(&mut deliveries).await;
    assert_eq!(fresh.body, event(2).body);
    fresh.accept();
    slow.accept();
}

#[tokio::test]
async fn a_sidecar_waits_for_a_broker_that_is_not_there_yet() {
    let mut site = Site::start(0);
    site.kill_broker();
    site.start_daprd();
    let sidecar = site.sidecar();
    let mut deliveries = sidecar.subscribe(subscription(None));
    healthy(&*sidecar).await;
    match sidecar.publish("pubsub", "telemetry", &[event(1)]).await {
        Ok(report) => assert_eq!(report.failed.len(), 1),
        Err(error) => assert!(error.is_retryable(), "{error}"),
    }
    site.start_broker();
    publish(&*sidecar, "telemetry", &[event(1)]).await;
    let mut missing = BTreeSet::from([event(1).body]);
    accept_all(&mut deliveries, &mut missing).await;
}

/// Accepts what comes until nothing is missing.
async fn accept_all(deliveries: &mut mpsc::Receiver<Delivery>, missing: &mut BTreeSet<Bytes>) {
    let until = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < until, "{} are missing", missing.len());
        let delivery = next(deliveries).await;
        missing.remove(&delivery.body);
        delivery.accept();
    }
}
