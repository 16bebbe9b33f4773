mod hub;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use proptest::prelude::*;
use store_forward::{NewItem, WhenFull};

use super::*;
use crate::pace::{WatchdogBounds, WindowBounds};
use crate::testing::{TestSidecar, publisher, queue, until};
use hub::{FOR_EVER, Life, SILENT, TestHub};

const LINE: LineOptions = LineOptions {
    window: WindowBounds { least: 1, most: 64 },
    watchdog: WatchdogBounds {
        floor: Duration::from_secs(10),
        ceiling: Duration::from_secs(30),
    },
};
const OPTIONS: SenderOptions = SenderOptions {
    line: LINE,
    schedule: ScheduleOptions {
        backlog_share: 20,
        backlog_rate: None,
        live_wait: Duration::from_millis(500),
        lower_share: 10,
    },
    drain: Duration::from_secs(5),
};

fn item(number: usize, payload: &'static str) -> NewItem {
    NewItem {
        key: "press-1".to_owned(),
        id: format!("m/{number:05}"),
        properties: Bytes::from(format!("%24.mid={number:05}&topic=telemetry")),
        payload: Bytes::from_static(payload.as_bytes()),
        ..NewItem::default()
    }
}

fn parts(hub: &TestHub, queue: &Queue, sidecar: &Arc<TestSidecar>) -> SenderParts<TestHub> {
    SenderParts {
        hub: hub.clone(),
        identity: "gate-7".to_owned(),
        queue: queue.clone(),
        mine: Mine::All,
        dead_letters: DeadLetters::new(publisher(sidecar), "deadletter".to_owned()),
        batches: watch::channel(Arc::default()).1,
        budget: None,
        refused: Arc::default(),
    }
}

fn sender(hub: &TestHub, queue: &Queue, sidecar: &Arc<TestSidecar>) -> Sender<TestHub> {
    Sender::new(parts(hub, queue, sidecar), OPTIONS)
}

fn assert_order_per_generation(received: &[(u64, String)]) {
    for pair in received.windows(2) {
        if pair[0].0 == pair[1].0 {
            assert!(
                pair[0].1 < pair[1].1,
                "out of order on one connection: {pair:?}"
            );
        }
    }
}

/// Some items before the start, the others while sending; returns what the hub received.
async fn deliver_all(
    lives: Vec<Life>,
    window: usize,
    before: usize,
    after: usize,
) -> Vec<(u64, String)> {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append((0..before).map(|number| item(number, "{}")).collect())
        .await
        .unwrap();
    let hub = TestHub::new(lives, window);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender(&hub, &queue, &TestSidecar::new()).run(shutdown.clone()));
    for number in before..before + after {
        queue.append(vec![item(number, "{}")]).await.unwrap();
    }
    until("an empty queue", || {
        queue.stats().depth == 0 && queue.stats().appended as usize == before + after
    })
    .await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    hub.received()
}

#[tokio::test]
async fn everything_is_delivered_once_and_in_order_on_a_good_connection() {
    let received = deliver_all(vec![FOR_EVER], 16, 300, 50).await;
    let expected: Vec<(u64, String)> = (0..350).map(|number| (0, format!("{number:05}"))).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn after_a_loss_it_goes_on_from_the_first_unconfirmed_message() {
    let breaks = Life {
        publishes: 10,
        acknowledges: 4,
        last_arrives: false,
        is_planned: false,
    };
    let received = deliver_all(vec![breaks], 64, 20, 0).await;
    let second: Vec<&str> = received
        .iter()
        .filter(|(generation, _)| *generation == 1)
        .map(|(_, id)| id.as_str())
        .collect();
    // Those confirmed before the loss are not sent again.
    assert!(second[0] >= "00000" && second[0] <= "00004", "{second:?}");
    assert_eq!(second.last(), Some(&"00019"));
    assert_order_per_generation(&received);
}

#[tokio::test]
async fn an_item_the_hub_can_never_take_becomes_a_dead_letter_and_blocks_nothing() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append(vec![item(0, "{}"), item(1, "too large"), item(2, "{}")])
        .await
        .unwrap();
    let hub = TestHub::new([], 16);
    let sidecar = TestSidecar::new();
    sidecar.fail_next(1);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender(&hub, &queue, &sidecar).run(shutdown.clone()));
    until("the two others", || hub.received().len() == 2).await;
    until("the row gone", || queue.stats().depth == 0).await;
    let published = sidecar.published();
    assert_eq!(published[0].1["data"]["reason"], "too-large");
    assert_eq!(published[0].1["data"]["topic"], "telemetry");
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
}

#[tokio::test]
async fn many_that_the_hub_can_never_take_all_become_dead_letters() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    let items =
        (0..100).map(|number| item(number, if number % 10 == 0 { "{}" } else { "too large" }));
    queue.append(items.collect()).await.unwrap();
    let hub = TestHub::new([], 16);
    let sidecar = TestSidecar::new();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender(&hub, &queue, &sidecar).run(shutdown.clone()));
    until("an empty queue", || queue.stats().depth == 0).await;
    assert_eq!(sidecar.published().len(), 90);
    assert_eq!(hub.received().len(), 10);
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
}

#[tokio::test]
async fn shutdown_waits_for_what_is_on_the_wire_but_not_for_ever() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append(vec![item(0, "{}"), item(1, "{}")])
        .await
        .unwrap();
    let mut hub = TestHub::new([SILENT], 16);
    hub.watchdog = Duration::from_secs(60);
    let mut sender = sender(&hub, &queue, &TestSidecar::new());
    sender.options.drain = Duration::from_millis(50);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender.run(shutdown.clone()));
    until("both on the wire", || hub.received().len() == 2).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Unconfirmed(2));
    assert_eq!(queue.stats().depth, 2, "unconfirmed rows stay");
}

#[tokio::test]
async fn no_more_is_on_the_wire_than_the_window_begins_with() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append((0..100).map(|number| item(number, "{}")).collect())
        .await
        .unwrap();
    let mut hub = TestHub::new([SILENT], 64);
    hub.watchdog = Duration::from_secs(60);
    let mut sender = sender(&hub, &queue, &TestSidecar::new());
    sender.options.drain = Duration::from_millis(50);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender.run(shutdown.clone()));
    until("sixteen on the wire", || hub.received().len() == 16).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Unconfirmed(16));
    assert_eq!(hub.received().len(), 16);
}

#[tokio::test]
async fn a_link_without_pubacks_is_given_up_and_all_is_sent_on_the_next_one() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append((0..40).map(|number| item(number, "{}")).collect())
        .await
        .unwrap();
    let mut hub = TestHub::new([SILENT], 64);
    hub.watchdog = Duration::from_secs(60);
    let mut sender = sender(&hub, &queue, &TestSidecar::new());
    let soon = Duration::from_millis(20);
    sender.options.line.watchdog = WatchdogBounds {
        floor: soon,
        ceiling: soon,
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(sender.run(shutdown.clone()));
    until("the connection given up", || {
        hub.record.given_up.load(Ordering::SeqCst) > 0
    })
    .await;
    until("an empty queue", || queue.stats().depth == 0).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    assert_order_per_generation(&hub.received());
}

#[tokio::test]
async fn a_closed_queue_ends_the_sender() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    let hub = TestHub::new([], 16);
    let task =
        tokio::spawn(sender(&hub, &queue, &TestSidecar::new()).run(CancellationToken::new()));
    queue.close().await.unwrap();
    assert_eq!(task.await.unwrap(), Ended::Stopped);
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (0usize..60, 0usize..60, any::<bool>()).prop_map(
        |(publishes, acknowledges, last_arrives)| Life {
            publishes,
            acknowledges,
            last_arrives,
            is_planned: false,
        },
    );
    prop::collection::vec(life, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_breaks_everything_arrives_in_order_per_connection(
        lives in lives(), window in 1usize..20, before in 0usize..150, after in 0usize..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let received = runtime.block_on(deliver_all(lives, window, before, after));
        assert_order_per_generation(&received);
        let mut ids: Vec<&str> = received.iter().map(|(_, id)| id.as_str()).collect();
        // The first time each message arrives is in order, too: nothing passes what was not confirmed.
        let mut highest = "";
        for id in &ids {
            if *id > highest {
                let next = highest.parse::<usize>().map_or(0, |number| number + 1);
                prop_assert_eq!(id.parse::<usize>().unwrap(), next);
                highest = id;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), before + after);
    }
}

fn measured(number: u64, key: &str) -> NewItem {
    NewItem {
        key: key.to_owned(),
        id: format!("modbus-reader/{key}/fast/e1/{number}"),
        properties: Bytes::from(format!("%24.mid={key}-{number:05}&topic=telemetry")),
        payload: crate::testing::measurement(key, number),
        route: store_forward::Route::new("trends").unwrap(),
        ..NewItem::default()
    }
}

fn batches(text: serde_json::Value) -> watch::Receiver<Arc<Batches>> {
    let routes: Vec<routes::RouteConfiguration> = serde_json::from_value(text).unwrap();
    watch::channel(Arc::new(batches_of(&routes))).1
}

#[tokio::test]
async fn a_message_of_several_events_confirms_them_all_also_after_a_loss() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    queue
        .append((0..500).map(|number| measured(number, "press-1")).collect())
        .await
        .unwrap();
    let breaks = Life {
        publishes: 3,
        acknowledges: 1,
        last_arrives: false,
        is_planned: false,
    };
    let hub = TestHub::new([breaks], 64);
    let mut parts = parts(&hub, &queue, &TestSidecar::new());
    parts.batches = batches(serde_json::json!([
        {"name": "trends", "batch": {"encoding": "compact", "max_bytes": "4KiB", "max_delay": "50ms"}},
    ]));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Sender::new(parts, OPTIONS).run(shutdown.clone()));
    until("an empty queue", || queue.stats().depth == 0).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    assert!(hub.received().len() < 100, "{}", hub.received().len());
    let first = |(_, id): &(u64, String)| id.split('+').next().unwrap().to_owned();
    assert_eq!(
        hub.received().iter().map(first).next().unwrap(),
        "press-1-00000"
    );
    assert_order_per_generation(&hub.received());
}

#[tokio::test]
async fn what_was_confirmed_at_a_planned_end_does_not_go_again_behind_events_that_wait() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    let items = (0..20).map(|number| NewItem {
        route: match number {
            // It opens a message on both connections.
            0 => measured(0, "press-1").route,
            _ => store_forward::Route::default(),
        },
        ..measured(number, "press-1")
    });
    queue.append(items.collect()).await.unwrap();
    let renewed = Life {
        publishes: 10,
        last_arrives: false,
        is_planned: true,
        ..SILENT
    };
    let hub = TestHub::new([renewed], 64);
    let mut parts = parts(&hub, &queue, &TestSidecar::new());
    parts.batches =
        batches(serde_json::json!([{"name": "trends", "batch": {"max_delay": "200ms"}}]));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Sender::new(parts, OPTIONS).run(shutdown.clone()));
    until("an empty queue", || queue.stats().depth == 0).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    let mut ids: Vec<String> = hub.received().into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    let expected: Vec<String> = (0..20)
        .map(|number| format!("press-1-{number:05}"))
        .collect();
    assert_eq!(ids, expected, "each once");
}

#[tokio::test]
async fn a_message_that_is_refused_as_a_whole_goes_in_parts() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    let mut items: Vec<NewItem> = (0..4).map(|number| measured(number, "press-1")).collect();
    // The test hub refuses by the beginning of the body; a list begins with a bracket.
    items[2].payload = Bytes::from_static(b"too large");
    queue.append(items).await.unwrap();
    let mut hub = TestHub::new([], 16);
    hub.refuses_lists = true;
    let sidecar = TestSidecar::new();
    let mut parts = parts(&hub, &queue, &sidecar);
    parts.batches =
        batches(serde_json::json!([{"name": "trends", "batch": {"max_delay": "10ms"}}]));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Sender::new(parts, OPTIONS).run(shutdown.clone()));
    until("an empty queue", || queue.stats().depth == 0).await;
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    let ids: Vec<String> = hub.received().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["press-1-00000", "press-1-00001", "press-1-00003"]);
    assert_eq!(sidecar.published().len(), 1, "one dead letter");
}

#[tokio::test]
async fn each_identity_sends_its_keys_and_one_that_is_down_keeps_nobody_waiting() {
    let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
    let items = |range: std::ops::Range<u64>| {
        let key = |number: u64| {
            if number.is_multiple_of(2) {
                "even"
            } else {
                "odd"
            }
        };
        range.map(|number| measured(number, key(number))).collect()
    };
    queue.append(items(0..600)).await.unwrap();
    let silent = TestHub {
        watchdog: Duration::from_secs(60),
        ..TestHub::new([SILENT], 64)
    };
    let shutdown = CancellationToken::new();
    let start = |hub: &TestHub, mine: &'static str| {
        let mut parts = parts(hub, &queue, &TestSidecar::new());
        parts.mine = Mine::Keys(Arc::new(move |key| key == mine));
        let options = SenderOptions {
            drain: Duration::from_millis(50),
            ..OPTIONS
        };
        tokio::spawn(Sender::new(parts, options).run(shutdown.clone()))
    };
    let down = start(&silent, "odd");
    let up = TestHub::new([], 64);
    let flows = start(&up, "even");
    until("the even ones delivered", || queue.stats().depth == 300).await;
    queue.append(items(600..700)).await.unwrap();
    until("new ones, too", || queue.stats().depth == 350).await;
    assert!(up.received().iter().all(|(_, id)| id.starts_with("even")));
    assert_eq!(up.received().len(), 350);
    shutdown.cancel();
    assert_eq!(flows.await.unwrap(), Ended::Finished);
    assert!(matches!(down.await.unwrap(), Ended::Unconfirmed(_)));
    let again = TestHub::new([], 64);
    let shutdown = CancellationToken::new();
    let mut parts = parts(&again, &queue, &TestSidecar::new());
    parts.mine = Mine::KeysAndRoutes(Arc::new(|key, route| key == "odd" && route == "trends"));
    let task = tokio::spawn(Sender::new(parts, OPTIONS).run(shutdown.clone()));
    until("an empty queue", || queue.stats().depth == 0).await;
    shutdown.cancel();
    task.await.unwrap();
    assert_order_per_generation(&again.received());
}

#[tokio::test]
async fn what_the_budget_holds_back_stays_in_the_queue_and_urgent_events_pass() {
    let (queue, folder) = queue(8 << 20, WhenFull::Reject);
    let hub = TestHub::new([], 16);
    let mut parts = parts(&hub, &queue, &TestSidecar::new());
    let options = crate::pace::BudgetOptions {
        per_month: Some(64 * 1024),
        urgent_from: Some(store_forward::Priority::HIGHEST),
        urgent_reserve: 0,
        urgent_beyond: true,
        ..crate::pace::BudgetOptions::default()
    };
    let budget = Metered::open(&folder.path().join("queue.db"), options);
    parts.budget = Some(Arc::clone(&budget));
    let shutdown = CancellationToken::new();
    let counting = tokio::spawn(budget.run(shutdown.clone()));
    let task = tokio::spawn(Sender::new(parts, OPTIONS).run(shutdown.clone()));
    queue
        .append((0..200).map(|number| measured(number, "press-1")).collect())
        .await
        .unwrap();
    until("some of them", || hub.received().len() > 50).await;
    let mut alarm = measured(900, "press-1");
    alarm.priority = store_forward::Priority::HIGHEST;
    queue.append(vec![alarm]).await.unwrap();
    until("the alarm", || {
        hub.received().iter().any(|(_, id)| id.ends_with("00900"))
    })
    .await;
    assert!(queue.stats().depth > 50, "{}", queue.stats().depth);
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Ended::Finished);
    counting.await.unwrap();
}
