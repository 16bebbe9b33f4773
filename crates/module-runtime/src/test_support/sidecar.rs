//! A sidecar in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::sidecar::{
    BoxFuture, Delivery, InvokeReply, OutgoingEvent, PublishReport, Sidecar, SidecarError,
    Subscription,
};

type Publish =
    Box<dyn Fn(&str, &str, &[OutgoingEvent]) -> Result<PublishReport, SidecarError> + Send + Sync>;
type Invoke = Box<dyn Fn(&str, &str, &[u8]) -> Result<InvokeReply, SidecarError> + Send + Sync>;

/// Keeps what is published, answers as it is told to, delivers nothing; always healthy.
pub struct TestSidecar {
    published: Mutex<Vec<(String, Value)>>,
    arrived: watch::Sender<usize>,
    failures: AtomicUsize,
    /// Every secret of every store.
    pub secrets: Mutex<BTreeMap<String, String>>,
    publish: Publish,
    publish_takes: Duration,
    invoke: Invoke,
    invoke_takes: Duration,
}

impl std::fmt::Debug for TestSidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestSidecar")
    }
}

impl TestSidecar {
    /// Takes every event at once; every method answers 200 without a body.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::build())
    }

    /// Publishes as `publish` says, after so long; what it reports as failed is not kept. It is not asked while failures
    /// of [`Self::fail_next`] are left.
    pub fn with_publish(
        publish_takes: Duration,
        publish: impl Fn(&str, &str, &[OutgoingEvent]) -> Result<PublishReport, SidecarError>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            publish: Box::new(publish),
            publish_takes,
            ..Self::build()
        })
    }

    /// Answers invocations as `invoke` says, after so long.
    pub fn with_invoke(
        invoke_takes: Duration,
        invoke: impl Fn(&str, &str, &[u8]) -> Result<InvokeReply, SidecarError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            invoke: Box::new(invoke),
            invoke_takes,
            ..Self::build()
        })
    }

    fn build() -> Self {
        Self {
            published: Mutex::default(),
            arrived: watch::Sender::new(0),
            failures: AtomicUsize::new(0),
            secrets: Mutex::default(),
            publish: Box::new(|_, _, _| Ok(PublishReport::default())),
            publish_takes: Duration::ZERO,
            invoke: Box::new(|_, _, _| {
                Ok(InvokeReply {
                    status: 200,
                    body: Bytes::new(),
                })
            }),
            invoke_takes: Duration::ZERO,
        }
    }

    /// Topic and event of everything published so far.
    pub fn published(&self) -> Vec<(String, Value)> {
        self.published.lock().unwrap().clone()
    }

    /// The event that is published as the `number`th, from 0, and its topic; waits for it.
    pub async fn publication(&self, number: usize) -> (String, Value) {
        let mut arrived = self.arrived.subscribe();
        arrived.wait_for(|count| *count > number).await.unwrap();
        self.published().swap_remove(number)
    }

    /// The next so many calls to publish fail with [`SidecarError::Unavailable`].
    pub fn fail_next(&self, publishes: usize) {
        self.failures.store(publishes, Ordering::SeqCst);
    }

    fn take(&self, topic: &str, events: &[OutgoingEvent], report: &PublishReport) {
        let mut published = self.published.lock().unwrap();
        for (position, event) in events.iter().enumerate() {
            if report.failed.iter().all(|(failed, _)| *failed != position) {
                let event = serde_json::from_slice(&event.body).unwrap();
                published.push((topic.to_owned(), event));
            }
        }
        self.arrived.send_replace(published.len());
    }
}

impl Sidecar for TestSidecar {
    fn publish<'a>(
        &'a self,
        pubsub: &'a str,
        topic: &'a str,
        events: &'a [OutgoingEvent],
    ) -> BoxFuture<'a, Result<PublishReport, SidecarError>> {
        Box::pin(async move {
            if !self.publish_takes.is_zero() {
                tokio::time::sleep(self.publish_takes).await;
            }
            let failing = self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            if failing.is_ok() {
                return Err(SidecarError::Unavailable("test".to_owned()));
            }
            let report = (self.publish)(pubsub, topic, events)?;
            self.take(topic, events, &report);
            Ok(report)
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
