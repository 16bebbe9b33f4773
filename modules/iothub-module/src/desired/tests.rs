use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::testing::{TestSidecar, publisher, until};

#[derive(Clone, Default)]
struct TestTwin {
    reads: Arc<AtomicUsize>,
}

impl Twin for TestTwin {
    async fn desired(&self) -> Result<(u64, Value), String> {
        match self.reads.fetch_add(1, Ordering::SeqCst) {
            0 => Err("not connected".to_owned()),
            _ => Ok((99, json!({"whole": true, "$version": 99}))),
        }
    }

    async fn reported(&self) -> Result<Value, String> {
        Ok(Value::Null)
    }

    async fn report(&self, _: &Value) -> Result<(), String> {
        Ok(())
    }
}

struct Bench {
    sidecar: Arc<TestSidecar>,
    changes: mpsc::Sender<Desired>,
}

fn start() -> Bench {
    let sidecar = TestSidecar::new();
    let (changes, receiver) = mpsc::channel(64);
    tokio::spawn(run(
        receiver,
        TestTwin::default(),
        publisher(&sidecar),
        "config".to_owned(),
        CancellationToken::new(),
    ));
    Bench { sidecar, changes }
}

fn data(bench: &Bench) -> Vec<Value> {
    bench
        .sidecar
        .published()
        .into_iter()
        .map(|(_, event)| event["data"].clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn changes_are_published_in_order_and_for_as_long_as_it_takes() {
    let bench = start();
    bench.sidecar.fail_next(4);
    bench
        .changes
        .send(Desired::new(
            3,
            true,
            json!({"a": 1, "$version": 3, "$metadata": {}}),
        ))
        .await
        .unwrap();
    bench
        .changes
        .send(Desired::new(4, false, json!({"a": null})))
        .await
        .unwrap();
    until("both published", || bench.sidecar.published().len() == 2).await;
    let expected = [
        json!({"version": 3, "complete": true, "desired": {"a": 1}}),
        json!({"version": 4, "complete": false, "desired": {"a": null}}),
    ];
    assert_eq!(data(&bench), expected);
    let (topic, event) = &bench.sidecar.published()[0];
    assert_eq!(
        (topic.as_str(), &event["type"]),
        ("config", &json!("com.fieldgate.config.v1"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_section_after_a_reconnect_is_no_news() {
    let bench = start();
    for _ in 0..3 {
        bench
            .changes
            .send(Desired::new(3, true, json!({"a": 1})))
            .await
            .unwrap();
        until("one", || !bench.sidecar.published().is_empty()).await;
    }
    bench
        .changes
        .send(Desired::new(4, true, json!({"a": 1})))
        .await
        .unwrap();
    until("the next version", || bench.sidecar.published().len() == 2).await;
    assert_eq!(data(&bench)[1]["version"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_whole_section_replaces_what_waits_and_too_many_changes_ask_for_one() {
    let bench = start();
    bench.sidecar.fail_next(2);
    bench
        .changes
        .send(Desired::new(1, false, json!({"a": 1})))
        .await
        .unwrap();
    bench
        .changes
        .send(Desired::new(2, true, json!({"b": 1})))
        .await
        .unwrap();
    until("the section", || bench.sidecar.published().len() == 1).await;
    assert_eq!(data(&bench)[0]["version"], 2);

    bench.sidecar.fail_next(1);
    for version in 3..80 {
        bench
            .changes
            .send(Desired::new(version, false, json!({"a": version})))
            .await
            .unwrap();
    }
    until("the section, read anew", || {
        data(&bench)
            .last()
            .is_some_and(|last| last["version"] == 99)
    })
    .await;
    assert_eq!(
        data(&bench).last(),
        Some(&json!({"version": 99, "complete": true, "desired": {"whole": true}}))
    );
}
