//! A sidecar and a queue in a folder of their own, for this crate's tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use module_runtime::{
    BoxFuture, Delivery, InvokeReply, OutgoingEvent, PublishReport, Sidecar, SidecarError,
    Subscription,
};
use serde_json::{Value, json};
use store_forward::{Queue, QueueOptions, WhenFull};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::publisher::Publisher;

type Invoke = Box<dyn Fn(&str, &str, &[u8]) -> Result<InvokeReply, SidecarError> + Send + Sync>;

/// Keeps what is published; fails as many publishes as it is told to.
pub(crate) struct TestSidecar {
    published: Mutex<Vec<(String, Value)>>,
    pub(crate) failures: AtomicUsize,
    pub(crate) secrets: Mutex<BTreeMap<String, String>>,
    invoke: Invoke,
    pub(crate) invoke_takes: Duration,
}

impl std::fmt::Debug for TestSidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestSidecar")
    }
}

impl TestSidecar {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_invoke(Duration::ZERO, |_, _, _| {
            Ok(InvokeReply {
                status: 200,
                body: Bytes::new(),
            })
        })
    }

    pub(crate) fn with_invoke(
        invoke_takes: Duration,
        invoke: impl Fn(&str, &str, &[u8]) -> Result<InvokeReply, SidecarError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            published: Mutex::default(),
            failures: AtomicUsize::new(0),
            secrets: Mutex::default(),
            invoke: Box::new(invoke),
            invoke_takes,
        })
    }

    /// Topic and event of everything published so far.
    pub(crate) fn published(&self) -> Vec<(String, Value)> {
        self.published.lock().unwrap().clone()
    }

    pub(crate) fn fail_next(&self, publishes: usize) {
        self.failures.store(publishes, Ordering::SeqCst);
    }
}

impl Sidecar for TestSidecar {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        topic: &'a str,
        events: &'a [OutgoingEvent],
    ) -> BoxFuture<'a, Result<PublishReport, SidecarError>> {
        Box::pin(async move {
            let failing = self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            if failing.is_ok() {
                return Err(SidecarError::Unavailable("test".to_owned()));
            }
            for event in events {
                self.published.lock().unwrap().push((
                    topic.to_owned(),
                    serde_json::from_slice(&event.body).unwrap(),
                ));
            }
            Ok(PublishReport::default())
        })
    }

    fn subscribe(&self, _: Subscription) -> mpsc::Receiver<Delivery> {
        mpsc::channel(1).1
    }

    fn invoke<'a>(
        &'a self,
        app: &'a str,
        method: &'a str,
        body: Bytes,
        _: Duration,
    ) -> BoxFuture<'a, Result<InvokeReply, SidecarError>> {
        Box::pin(async move {
            tokio::time::sleep(self.invoke_takes).await;
            (self.invoke)(app, method, &body)
        })
    }

    fn secret<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, SidecarError>> {
        Box::pin(async { Ok(self.secrets.lock().unwrap().clone()) })
    }

    fn healthy(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

pub(crate) fn publisher(sidecar: &Arc<TestSidecar>) -> Arc<Publisher> {
    let sidecar: Arc<dyn Sidecar> = Arc::<TestSidecar>::clone(sidecar);
    Arc::new(Publisher::new(
        sidecar,
        "pubsub".to_owned(),
        "gate-7",
        "iothub-module",
    ))
}

/// A queue that commits at once; the folder lives as long as the guard.
pub(crate) fn queue(max_bytes: u64, when_full: WhenFull) -> (Queue, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = QueueOptions::new(folder.path().join("queue.db"), max_bytes, when_full);
    options.commit_delay = Duration::ZERO;
    (Queue::open(options).unwrap(), folder)
}

/// A measurement event as modbus-reader publishes it.
pub(crate) fn measurement(device: &str, sequence: u64) -> Bytes {
    let id = format!("modbus-reader/{device}/fast/e1/{sequence}");
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/fieldgate/gate-7/modbus-reader", "type": "com.fieldgate.measurements.v1",
        "subject": format!("{device}/fast"), "partitionkey": device, "sequence": format!("{sequence:020}"),
        "data": {"device": device, "group": "fast", "epoch": "e1", "sequence": sequence, "values": {"temperature": 21.5}, "bad": {}}
    });
    Bytes::from(event.to_string())
}

/// Waits until `holds`, or fails after a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for: {what}");
}
