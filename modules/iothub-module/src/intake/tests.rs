use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use module_runtime::{Health, Outcome};
use proptest::prelude::*;
use routes::RouteConfiguration;
use serde_json::{Value, json};
use store_forward::WhenFull;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{TestSidecar, measurement, publisher, queue, until};

/// A store that does what it is told.
#[derive(Default)]
struct TestStore {
    stored: Mutex<Vec<NewItem>>,
    /// Answers of the next appends; then every append succeeds.
    answers: Mutex<VecDeque<AppendError>>,
    appends: AtomicUsize,
    /// Closed: appends wait.
    gate: tokio::sync::RwLock<()>,
    largest: Option<usize>,
    /// So many items are stored wholly or not at all.
    transaction: Option<usize>,
    largest_append: AtomicUsize,
}

impl TestStore {
    fn ids(&self) -> Vec<String> {
        self.stored
            .lock()
            .unwrap()
            .iter()
            .map(|item| item.id.clone())
            .collect()
    }

    fn answer(&self, errors: impl IntoIterator<Item = AppendError>) {
        self.answers.lock().unwrap().extend(errors);
    }
}

impl Store for TestStore {
    fn in_one_transaction(&self, items: &[NewItem]) -> usize {
        self.transaction.unwrap_or(items.len()).min(items.len())
    }

    async fn append(&self, items: Vec<NewItem>) -> Result<Vec<Sequence>, AppendError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        self.largest_append.fetch_max(items.len(), Ordering::SeqCst);
        drop(self.gate.read().await);
        let limit = self.largest.unwrap_or(usize::MAX);
        if let Some(item) = items.iter().find(|item| item.size() > limit) {
            return Err(AppendError::TooLarge {
                id: item.id.clone(),
                bytes: item.size(),
                limit,
            });
        }
        if let Some(error) = self.answers.lock().unwrap().pop_front() {
            return Err(error);
        }
        let mut stored = self.stored.lock().unwrap();
        stored.extend(items.iter().cloned());
        Ok(items.iter().map(|_| Sequence(0)).collect())
    }
}

struct Bench {
    store: Arc<TestStore>,
    sidecar: Arc<TestSidecar>,
    health: Health,
    deliveries: mpsc::Sender<Delivery>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<Vec<u8>, IntakeError>>,
    settings: watch::Sender<Settings>,
}

impl Bench {
    fn new(store: TestStore, limits: Limits) -> Self {
        Self::with_note(store, limits, None)
    }

    fn with_note(store: TestStore, limits: Limits, note: Option<&[u8]>) -> Self {
        let store = Arc::new(store);
        let sidecar = TestSidecar::new();
        let dead_letters = DeadLetters::new(publisher(&sidecar), "deadletter".to_owned());
        let health = Health::new();
        let flag = health.component("queue");
        flag.ready();
        let settings = Settings {
            limits,
            routes: Arc::default(),
        };
        let mut intake = Intake::new(Arc::clone(&store), settings.clone(), dead_letters, flag);
        if let Some(note) = note {
            intake.recall(note);
        }
        let (deliveries, mut receiver) = mpsc::channel(4096);
        let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let (settings, settings_now) = watch::channel(settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(intake.run(stream, settings_now, shutdown.clone()));
        Self {
            store,
            sidecar,
            health,
            deliveries,
            shutdown,
            task,
            settings,
        }
    }

    /// A changed document.
    fn set_routes(&self, rules: &Value) {
        let rules: Vec<RouteConfiguration> = serde_json::from_value(rules.clone()).unwrap();
        self.settings
            .send_modify(|settings| settings.routes = Arc::new(Routes::compile(&rules)));
    }

    async fn deliver(&self, body: impl Into<Bytes>) -> oneshot::Receiver<module_runtime::Outcome> {
        let (delivery, outcome) = Delivery::for_test("telemetry", body);
        self.deliveries.send(delivery).await.unwrap();
        outcome
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_accepted_only_after_the_append_and_in_groups() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    let closed = bench.store.gate.write().await;
    let mut outcomes = Vec::new();
    for sequence in 1..=100 {
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
    }
    until("the first append", || {
        bench.store.appends.load(Ordering::SeqCst) == 1
    })
    .await;
    for outcome in &mut outcomes {
        assert!(
            outcome.try_recv().is_err(),
            "accepted before it was durable"
        );
    }
    drop(closed);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    assert!(bench.store.appends.load(Ordering::SeqCst) <= 2);
    let expected: Vec<String> = (1..=100)
        .map(|sequence| format!("modbus-reader/press-1/fast/e1/{sequence}"))
        .collect();
    assert_eq!(bench.store.ids(), expected);
}

#[tokio::test(start_paused = true)]
async fn order_is_restored_and_duplicates_are_accepted_without_being_stored() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    for sequence in [1, 4, 3, 2] {
        drop(bench.deliver(measurement("press-1", sequence)).await);
    }
    until("four rows", || bench.store.ids().len() == 4).await;
    assert!(bench.store.ids().is_sorted());
    for sequence in 1..=4 {
        let outcome = bench.deliver(measurement("press-1", sequence)).await;
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    assert_eq!(bench.store.ids().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sends_events_back_and_their_order_survives() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    assert_eq!(
        bench
            .deliver(measurement("press-1", 1))
            .await
            .await
            .unwrap(),
        Outcome::Accepted
    );
    bench.store.answer([AppendError::Full]);
    let refused = bench.deliver(measurement("press-1", 2)).await;
    assert_eq!(refused.await.unwrap(), Outcome::Retry);
    // There is room again, but 3 waits for 2 to come back.
    let waiting = bench.deliver(measurement("press-1", 3)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let again = bench.deliver(measurement("press-1", 2)).await;
    assert_eq!(again.await.unwrap(), Outcome::Accepted);
    assert_eq!(waiting.await.unwrap(), Outcome::Accepted);
    assert!(bench.store.ids().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn what_a_small_queue_has_stored_of_many_does_not_go_back_with_the_rest() {
    let store = TestStore {
        transaction: Some(3),
        ..TestStore::default()
    };
    let bench = Bench::new(store, Limits::default());
    let closed = bench.store.gate.write().await;
    let mut outcomes = Vec::new();
    for sequence in 1..=7 {
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
    }
    until("the first append", || {
        bench.store.appends.load(Ordering::SeqCst) == 1
    })
    .await;
    drop(closed);
    // Whatever was in the first append, the next ones have three each at most.
    bench.store.answer([AppendError::Full]);
    let mut back = 0;
    for outcome in outcomes {
        back += usize::from(outcome.await.unwrap() == Outcome::Retry);
    }
    assert_eq!(bench.store.ids().len() + back, 7);
    assert!(bench.store.largest_append.load(Ordering::SeqCst) <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_holds_events_unaccepted_until_it_works() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    let failure = AppendError::Storage {
        reason: "disk full".to_owned(),
        retryable: true,
    };
    bench.store.answer(std::iter::repeat_n(failure, 5));
    let mut outcome = bench.deliver(measurement("press-1", 1)).await;
    until("not ready", || {
        bench
            .health
            .reasons()
            .get("queue")
            .is_some_and(|reason| reason.contains("disk full"))
    })
    .await;
    assert!(outcome.try_recv().is_err());
    assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    assert!(bench.health.is_ready());
    assert_eq!(bench.store.ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn poison_goes_to_the_dead_letters_and_only_then_is_accepted() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    bench.sidecar.fail_next(1);
    assert_eq!(
        bench.deliver("not json").await.await.unwrap(),
        Outcome::Retry
    );
    assert_eq!(
        bench.deliver("not json").await.await.unwrap(),
        Outcome::Accepted
    );
    let huge = format!(
        r#"{{"specversion":"1.0","id":"a","source":"/x","type":"t","data":"{}"}}"#,
        "x".repeat(300 * 1024)
    );
    assert_eq!(
        bench.deliver(huge.clone()).await.await.unwrap(),
        Outcome::Accepted
    );
    let published = bench.sidecar.published();
    let reasons: Vec<&str> = published
        .iter()
        .map(|(_, event)| event["data"]["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["not-a-cloudevent", "too-large"]);
    let (topic, first) = &published[0];
    assert_eq!(
        (topic.as_str(), &first["type"]),
        ("deadletter", &Value::from("com.fieldgate.deadletter.v1"))
    );
    assert_eq!(first["data"]["original_base64"], "bm90IGpzb24=");
    assert_eq!(first["data"]["topic"], "telemetry");
    let second = &published[1].1["data"];
    assert_eq!(
        (
            second["truncated"].as_bool(),
            second["original_bytes"].as_u64()
        ),
        (Some(true), Some(huge.len() as u64))
    );
    assert!(bench.store.ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_event_too_large_for_the_queue_does_not_take_its_group_with_it() {
    let bench = Bench::new(
        TestStore {
            largest: Some(2000),
            ..TestStore::default()
        },
        Limits::default(),
    );
    let closed = bench.store.gate.write().await;
    let mut outcomes = Vec::new();
    for sequence in 1..=3 {
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
    }
    let large = format!(
        r#"{{"specversion":"1.0","id":"large","source":"/x","type":"t","data":"{}"}}"#,
        "x".repeat(3000)
    );
    outcomes.push(bench.deliver(large).await);
    outcomes.push(bench.deliver(measurement("press-1", 4)).await);
    drop(closed);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    assert_eq!(bench.store.ids().len(), 4);
    assert!(bench.store.ids().is_sorted());
    assert_eq!(
        bench.sidecar.published()[0].1["data"]["reason"],
        "too-large"
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_the_append_and_gives_the_rest_back() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    let closed = bench.store.gate.write().await;
    let running = bench.deliver(measurement("press-1", 1)).await;
    until("the append", || {
        bench.store.appends.load(Ordering::SeqCst) == 1
    })
    .await;
    let held = bench.deliver(measurement("press-1", 3)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.shutdown.cancel();
    drop(closed);
    assert_eq!(running.await.unwrap(), Outcome::Accepted);
    assert_eq!(held.await.unwrap(), Outcome::Retry);
    assert!(bench.task.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_an_orderly_restart_nothing_waits_and_what_went_back_is_awaited() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    for sequence in 1..=3 {
        let outcome = bench.deliver(measurement("press-1", sequence)).await;
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    let held = bench.deliver(measurement("press-1", 5)).await;
    bench.shutdown.cancel();
    assert_eq!(held.await.unwrap(), Outcome::Retry);
    let note = bench.task.await.unwrap().unwrap();

    let started = Instant::now();
    let next = Bench::with_note(TestStore::default(), Limits::default(), Some(&note));
    let early = next.deliver(measurement("press-1", 5)).await;
    let copy = next.deliver(measurement("press-1", 3)).await;
    assert_eq!(copy.await.unwrap(), Outcome::Accepted);
    let awaited = next.deliver(measurement("press-1", 4)).await;
    assert_eq!(awaited.await.unwrap(), Outcome::Accepted);
    assert_eq!(early.await.unwrap(), Outcome::Accepted);
    assert!(started.elapsed() < Duration::from_secs(1));
    let expected = [4, 5].map(|sequence| format!("modbus-reader/press-1/fast/e1/{sequence}"));
    assert_eq!(next.store.ids(), expected);

    // A note of another release is no reason not to start.
    let newer = Bench::with_note(
        TestStore::default(),
        Limits::default(),
        Some(b"{\"version\":9}"),
    );
    let outcome = newer.deliver(measurement("press-1", 1)).await;
    assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
}

#[tokio::test]
async fn the_note_is_in_the_queues_file_until_something_is_appended() {
    let (first, folder) = queue(4 << 20, WhenFull::Reject);
    let path = folder.path().join("queue.db");
    let mut sequencer: Sequencer<()> = Sequencer::new(Limits::default());
    let long = "x".repeat(200);
    for number in 0..4096 {
        let position = Position {
            source: &long,
            subject: &number.to_string(),
            epoch: "e",
            sequence: 1,
        };
        sequencer.arrive(position, 1, (), Instant::now(), &mut Vec::new());
    }
    // The longest there is, in the smallest queue.
    let note = sequencer.note();
    assert!(note.len() > 220 << 10);
    first.close_with_note(note.clone().into()).await.unwrap();
    let options = || store_forward::QueueOptions::new(&path, 4 << 20, WhenFull::Reject);
    let second = Queue::open(options()).unwrap();
    assert_eq!(second.take_note().as_deref(), Some(&note[..]));
    let item = NewItem {
        key: "a".to_owned(),
        ..NewItem::default()
    };
    second.append(vec![item]).await.unwrap();
    second.close().await.unwrap();
    assert_eq!(Queue::open(options()).unwrap().take_note(), None);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_the_intake() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    bench.store.answer([AppendError::Closed]);
    assert_eq!(
        bench
            .deliver(measurement("press-1", 1))
            .await
            .await
            .unwrap(),
        Outcome::Retry
    );
    assert!(matches!(
        bench.task.await.unwrap(),
        Err(IntakeError::QueueClosed)
    ));
}

#[tokio::test(start_paused = true)]
async fn what_a_route_drops_is_accepted_and_keeps_nobody_waiting() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    bench.set_routes(&json!([
        {"name": "odd", "when": {"data": {"sequence": {"one_of": [1, 3, 5]}}}, "drop": true},
        {"name": "plain", "when": {"type": "t"}, "drop": true}
    ]));
    let started = Instant::now();
    let mut outcomes = Vec::new();
    // Too early, so that what is dropped must take its turn.
    for sequence in [2, 1, 4, 3, 6, 5] {
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
    }
    let plain = r#"{"specversion":"1.0","id":"a","source":"/x","type":"t"}"#;
    outcomes.push(bench.deliver(plain).await);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    let ids = [2, 4, 6].map(|sequence| format!("modbus-reader/press-1/fast/e1/{sequence}"));
    assert_eq!(bench.store.ids(), ids);
    // The first of a stream always waits for those that may have come before it.
    assert!(started.elapsed() <= Limits::default().reorder_wait);
    // A copy is known, whatever the rules are by then.
    bench.set_routes(&json!([]));
    let copy = bench.deliver(measurement("press-1", 3)).await;
    assert_eq!(copy.await.unwrap(), Outcome::Accepted);
    assert_eq!(bench.store.ids(), ids);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_keeps_nobody_waiting() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    let large = String::from_utf8(measurement("press-1", 2).to_vec()).unwrap();
    let large = large.replace("21.5", &format!("\"{}\"", "x".repeat(300 * 1024)));
    let started = Instant::now();
    let mut outcomes = vec![bench.deliver(measurement("press-1", 1)).await];
    // Early, so that it must take its turn as well.
    outcomes.push(bench.deliver(measurement("press-1", 3)).await);
    outcomes.push(bench.deliver(large).await);
    outcomes.push(bench.deliver(measurement("press-1", 4)).await);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.store.ids().len(), 3);
    assert!(bench.store.ids().is_sorted());
    let published = bench.sidecar.published();
    assert_eq!(published[0].1["data"]["reason"], "too-large");
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_to_wait_goes_back_and_the_awaited_one_gets_in() {
    let limits = Limits {
        held_events: 2,
        ..Limits::default()
    };
    let bench = Bench::new(TestStore::default(), limits);
    let mut outcomes = vec![bench.deliver(measurement("press-1", 1)).await];
    for sequence in [3, 4] {
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
    }
    let back = bench.deliver(measurement("press-1", 5)).await;
    assert_eq!(back.await.unwrap(), Outcome::Retry);
    outcomes.push(bench.deliver(measurement("press-1", 2)).await);
    outcomes.push(bench.deliver(measurement("press-1", 5)).await);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    assert_eq!(bench.store.ids().len(), 5);
    assert!(bench.store.ids().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_route_adds_its_properties_to_the_message() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    bench.set_routes(&json!([
        {"name": "all", "properties": {"line": 4, "t": {"data": "values.temperature"}}}
    ]));
    let outcome = bench.deliver(measurement("press-1", 1)).await;
    assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    let stored = bench.store.stored.lock().unwrap();
    let bag = String::from_utf8_lossy(&stored[0].properties).into_owned();
    assert!(bag.ends_with("&topic=telemetry&line=4&t=21.5"), "{bag}");
}

#[tokio::test(start_paused = true)]
async fn rules_that_change_all_the_time_lose_and_double_nothing() {
    let bench = Bench::new(TestStore::default(), Limits::default());
    let mut outcomes = Vec::new();
    for sequence in 1..=2000u64 {
        if sequence % 7 == 0 {
            let rules = json!([{"name": format!("r{sequence}"), "when": {"topic": "telemetry"}}]);
            bench.set_routes(&rules);
        }
        outcomes.push(bench.deliver(measurement("press-1", sequence)).await);
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
    }
    let expected: Vec<String> = (1..=2000)
        .map(|sequence| format!("modbus-reader/press-1/fast/e1/{sequence}"))
        .collect();
    assert_eq!(bench.store.ids(), expected);
}

/// A broker with parallel delivery in front of a store that fails at times: every event ends up stored.
async fn everything_arrives(order: Vec<u64>, failures: Vec<u8>) -> Result<(), TestCaseError> {
    let limits = Limits {
        held_events: 8,
        ..Limits::default()
    };
    let bench = Bench::new(TestStore::default(), limits);
    bench
        .store
        .answer(failures.iter().map(|kind| match kind % 2 {
            0 => AppendError::Full,
            _ => AppendError::Storage {
                reason: "test".to_owned(),
                retryable: true,
            },
        }));
    let mut waiting: FuturesUnordered<Work<(u64, Result<Outcome, oneshot::error::RecvError>)>> =
        FuturesUnordered::new();
    for sequence in order {
        let outcome = bench.deliver(measurement("press-1", sequence)).await;
        waiting.push(Box::pin(async move { (sequence, outcome.await) }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut rounds = 0;
    while let Some((sequence, outcome)) = waiting.next().await {
        if outcome != Ok(Outcome::Accepted) {
            rounds += 1;
            prop_assert!(rounds < 10_000, "no progress");
            tokio::time::sleep(Duration::from_millis(500)).await;
            let outcome = bench.deliver(measurement("press-1", sequence)).await;
            waiting.push(Box::pin(async move { (sequence, outcome.await) }));
        } else {
            let id = format!("modbus-reader/press-1/fast/e1/{sequence}");
            prop_assert!(
                bench.store.ids().contains(&id),
                "{id} accepted but not stored"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_accepted_that_is_not_stored(
        order in Just((1u64..=30).chain(5..15).collect::<Vec<_>>()).prop_shuffle(),
        failures in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(everything_arrives(order, failures))?;
    }
}
