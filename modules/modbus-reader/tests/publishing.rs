//! The publisher against a sidecar that fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use measurement::Event;
use modbus_reader::configuration::Publish;
use modbus_reader::event_buffer::EventBuffer;
use modbus_reader::metrics::Metrics;
use modbus_reader::publisher::Publisher;
use module_runtime::test_support::TestSidecar;
use module_runtime::{Health, OutgoingEvent, PublishReport, SidecarError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Away,
    /// Every second event of a call fails.
    Half,
}

/// What the sidecar was given and took.
#[derive(Debug)]
struct Broker {
    mood: Mutex<Mood>,
    calls: Mutex<Vec<Vec<String>>>,
    taken: Mutex<Vec<String>>,
}

impl Broker {
    fn publish(&self, events: &[OutgoingEvent]) -> Result<PublishReport, SidecarError> {
        let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
        self.calls.lock().unwrap().push(ids.clone());
        let mood = *self.mood.lock().unwrap();
        let mut report = PublishReport::default();
        for (position, id) in ids.into_iter().enumerate() {
            match mood {
                Mood::Away => return Err(SidecarError::Unavailable("away".to_owned())),
                Mood::Half if position % 2 == 1 => {
                    report.failed.push((position, "no".to_owned()));
                }
                _ => self.taken.lock().unwrap().push(id),
            }
        }
        Ok(report)
    }
}

struct Rig {
    broker: Arc<Broker>,
    buffer: EventBuffer,
    finish: CancellationToken,
    task: JoinHandle<()>,
    health: Health,
    _settings: watch::Sender<Publish>,
}

fn start(mood: Mood, flush: Duration) -> Rig {
    let broker = Arc::new(Broker {
        mood: Mutex::new(mood),
        calls: Mutex::default(),
        taken: Mutex::default(),
    });
    let behind = Arc::clone(&broker);
    let sidecar =
        TestSidecar::with_publish(Duration::from_millis(5), move |pubsub, topic, events| {
            assert_eq!((pubsub, topic), ("pubsub", "telemetry"));
            behind.publish(events)
        });
    let metrics = Metrics::register();
    let publish = Publish {
        batch: 10,
        ..Publish::default()
    };
    let buffer = EventBuffer::new(1 << 20, publish.batch, metrics.clone());
    let (settings, receiver) = watch::channel(publish);
    let health = Health::new();
    let publisher = Publisher {
        sidecar,
        pubsub: "pubsub".to_owned(),
        settings: receiver,
        buffer: buffer.clone(),
        metrics,
        health: health.component("publish"),
    };
    let finish = CancellationToken::new();
    let task = tokio::spawn(publisher.run(finish.clone(), flush));
    Rig {
        broker,
        buffer,
        finish,
        task,
        health,
        _settings: settings,
    }
}

impl Rig {
    fn push(&self, stream: u32, number: usize) {
        let event = Event {
            id: format!("{stream}/{number}"),
            body: Bytes::from_static(b"{}"),
        };
        self.buffer.push(stream, event);
    }

    async fn until_taken(&self, count: usize) -> Vec<String> {
        let waiting = async {
            while self.broker.taken.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(600), waiting)
            .await
            .unwrap();
        self.broker.taken.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_several_devices_share_a_call_and_streams_keep_their_order() {
    let rig = start(Mood::Well, Duration::from_secs(1));
    for round in 0..3 {
        for stream in 0..8 {
            rig.push(stream, round);
        }
        rig.until_taken(8 * (round + 1)).await;
    }
    let calls = rig.broker.calls.lock().unwrap().clone();
    assert_eq!(calls.len(), 3, "one call per round: {calls:?}");
    rig.finish.cancel();
    rig.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_and_changes_no_id() {
    let rig = start(Mood::Away, Duration::from_secs(1));
    for number in 0..100 {
        rig.push(number as u32 % 3, number);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!rig.health.is_ready());
    *rig.broker.mood.lock().unwrap() = Mood::Half;
    rig.until_taken(20).await;
    *rig.broker.mood.lock().unwrap() = Mood::Well;
    let mut taken = rig.until_taken(100).await;
    assert!(rig.health.is_ready());
    let mut expected: Vec<String> = (0..100)
        .map(|number| format!("{}/{number}", number % 3))
        .collect();
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    rig.finish.cancel();
    rig.task.await.unwrap();
    assert!(rig.buffer.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_what_is_buffered_but_not_for_ever() {
    let rig = start(Mood::Well, Duration::from_secs(5));
    for number in 0..35 {
        rig.push(1, number);
    }
    rig.finish.cancel();
    rig.task.await.unwrap();
    assert_eq!(rig.broker.taken.lock().unwrap().len(), 35);

    let rig = start(Mood::Away, Duration::from_secs(5));
    rig.push(1, 1);
    let begin = tokio::time::Instant::now();
    rig.finish.cancel();
    rig.task.await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(5));
    assert_eq!(rig.buffer.len(), 1);
}
