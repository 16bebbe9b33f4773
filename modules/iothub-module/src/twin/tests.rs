use std::sync::Mutex;

use bytes::Bytes;
use module_runtime::Outcome;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{TestSidecar, publisher, until};

const DOCUMENT: &str = "hub: {connection_string_file: /secret}\nqueue: {path: /q/queue.db}\nsubscriptions: [{pubsub: p, topic: t}]\n";

#[derive(Clone, Default)]
struct TestTwin {
    patches: Arc<Mutex<Vec<(Instant, Value)>>>,
    failures: Arc<Mutex<usize>>,
    hub: Arc<Mutex<Value>>,
}

impl TestTwin {
    fn patches(&self) -> Vec<Value> {
        self.patches
            .lock()
            .unwrap()
            .iter()
            .map(|(_, patch)| patch.clone())
            .collect()
    }
}

impl Twin for TestTwin {
    async fn desired(&self) -> Result<(u64, Value), String> {
        Err("not asked for here".to_owned())
    }

    async fn reported(&self) -> Result<Value, String> {
        Ok(self.hub.lock().unwrap().clone())
    }

    async fn report(&self, patch: &Value) -> Result<(), String> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err("429".to_owned());
        }
        self.patches
            .lock()
            .unwrap()
            .push((Instant::now(), patch.clone()));
        Ok(())
    }
}

struct Bench {
    twin: TestTwin,
    sidecar: Arc<TestSidecar>,
    statuses: mpsc::Sender<Delivery>,
    own: watch::Sender<Value>,
    connection: watch::Sender<Option<u64>>,
    _configuration: watch::Sender<Arc<Configuration>>,
}

fn start() -> Bench {
    let (statuses, mut receiver) = mpsc::channel(16);
    let (own, own_now) = watch::channel(json!({"module": "iothub-module", "ready": true}));
    let (connection, connection_now) = watch::channel(None);
    let loaded = module_runtime::load_str::<Configuration>("t.yaml", DOCUMENT).unwrap();
    let (configuration, configuration_now) = watch::channel(loaded.configuration);
    let sidecar = TestSidecar::new();
    let twin = TestTwin::default();
    let inputs = Inputs {
        statuses: futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)),
        own: own_now,
        connection: connection_now,
        configuration: configuration_now,
    };
    let dead_letters = DeadLetters::new(publisher(&sidecar), "deadletter".to_owned());
    tokio::spawn(run(
        twin.clone(),
        "iothub-module".to_owned(),
        inputs,
        dead_letters,
        CancellationToken::new(),
    ));
    Bench {
        twin,
        sidecar,
        statuses,
        own,
        connection,
        _configuration: configuration,
    }
}

fn event(module: &str, data: &Value) -> Bytes {
    let source = format!("/fieldgate/gate-7/{module}");
    measurement::event(&source, measurement::STATUS_TYPE, Some(module), data)
        .unwrap()
        .body
}

impl Bench {
    async fn status(&self, body: impl Into<Bytes>) -> Outcome {
        let (delivery, outcome) = Delivery::for_test("status", body);
        self.statuses.send(delivery).await.unwrap();
        outcome.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_are_merged_rate_limited_and_sent_again_after_a_reconnect() {
    let bench = start();
    let reader = |lines: u32| {
        event(
            "modbus-reader",
            &json!({"module": "modbus-reader", "lines": lines}),
        )
    };
    assert_eq!(
        bench.status(reader(0)).await,
        Outcome::Accepted,
        "taken also without a connection"
    );
    assert!(bench.twin.patches().is_empty());
    bench.connection.send_replace(Some(1));
    until("the first report", || bench.twin.patches().len() == 1).await;
    for lines in 1..=100 {
        bench.status(reader(lines)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let times: Vec<Instant> = bench
        .twin
        .patches
        .lock()
        .unwrap()
        .iter()
        .map(|(time, _)| *time)
        .collect();
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_secs(5)),
        "{times:?}"
    );
    assert!((3..=5).contains(&times.len()), "{}", times.len());
    assert_eq!(
        bench.twin.patches().last(),
        Some(&json!({"modules": {"modbus-reader": {"lines": 100}}}))
    );

    bench.connection.send_replace(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.connection.send_replace(Some(2));
    let count = times.len();
    until("everything again", || {
        bench.twin.patches().len() == count + 1
    })
    .await;
    let whole = json!({"modules": {
        "modbus-reader": {"module": "modbus-reader", "lines": 100},
        "iothub-module": {"module": "iothub-module", "ready": true},
    }});
    assert_eq!(bench.twin.patches().last(), Some(&whole));
}

#[tokio::test(start_paused = true)]
async fn a_failed_report_is_repeated_whole() {
    let bench = start();
    *bench.twin.failures.lock().unwrap() = 2;
    bench.connection.send_replace(Some(1));
    until("the report", || bench.twin.patches().len() == 1).await;
    assert_eq!(
        bench.twin.patches()[0]["modules"]["iothub-module"]["ready"],
        true
    );
    bench
        .own
        .send_replace(json!({"module": "iothub-module", "ready": false}));
    until("the change", || bench.twin.patches().len() == 2).await;
    assert_eq!(
        bench.twin.patches()[1],
        json!({"modules": {"iothub-module": {"ready": false}}})
    );
}

#[tokio::test(start_paused = true)]
async fn null_removes_and_the_modules_own_status_does_not_come_from_the_broker() {
    let bench = start();
    bench.connection.send_replace(Some(1));
    bench.status(event("a", &json!({"ready": true}))).await;
    bench
        .status(event(
            "iothub-module",
            &json!({"module": "iothub-module", "ready": "forged"}),
        ))
        .await;
    until("a", || {
        bench
            .twin
            .patches()
            .iter()
            .any(|patch| patch["modules"]["a"]["ready"] == true)
    })
    .await;
    bench.status(event("a", &Value::Null)).await;
    until("the removal", || {
        bench
            .twin
            .patches()
            .iter()
            .any(|patch| patch["modules"].get("a") == Some(&Value::Null))
    })
    .await;
    assert!(
        !bench
            .twin
            .patches()
            .iter()
            .any(|patch| patch.to_string().contains("forged"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_none_becomes_a_dead_letter() {
    let bench = start();
    assert_eq!(bench.status("{}").await, Outcome::Accepted);
    assert_eq!(
        bench.status(event("a", &json!("words"))).await,
        Outcome::Accepted
    );
    let reasons: Vec<Value> = bench
        .sidecar
        .published()
        .iter()
        .map(|(_, event)| event["data"]["reason"].clone())
        .collect();
    assert_eq!(reasons, ["not-a-cloudevent", "invalid-status"]);
    bench.sidecar.fail_next(1);
    assert_eq!(bench.status("{}").await, Outcome::Retry);
}
