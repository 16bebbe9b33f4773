//! Publishes what the buffer holds, in bulk, and repeats what failed with the same id, for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use module_runtime::{BoxFuture, HealthFlag, PublishReport, Sidecar, SidecarError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::configuration::Publish;
use crate::event_buffer::{Batch, EventBuffer};
use crate::metrics::Metrics;

/// Calls at the same time while there is a backlog; otherwise one.
const CATCHING_UP: usize = 2;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The task that publishes.
#[derive(Debug)]
pub struct Publisher {
    /// Where to.
    pub sidecar: Arc<dyn Sidecar>,
    /// The pub/sub component.
    pub pubsub: String,
    /// Topic, batch and linger; may change while it runs.
    pub settings: watch::Receiver<Publish>,
    /// What to publish.
    pub buffer: EventBuffer,
    /// Counts.
    pub metrics: Metrics,
    /// Not ready while nothing gets through. Ready to begin with: nothing has failed.
    pub health: HealthFlag,
}

type Call = BoxFuture<'static, (Batch, Result<PublishReport, SidecarError>)>;

impl Publisher {
    /// Publishes until `finish` is cancelled, then what is left for at most `flush`. What remains is dropped and counted.
    pub async fn run(mut self, finish: CancellationToken, flush: Duration) {
        let deadline = {
            let finish = finish.clone();
            async move {
                finish.cancelled().await;
                tokio::time::sleep(flush).await;
            }
        };
        tokio::select! {
            biased;
            () = self.publish_all(&finish) => {}
            () = deadline => {
                let dropped = self.buffer.len() as u64;
                self.metrics.dropped_shutdown.increment(dropped);
                tracing::error!(dropped, ?flush, "the broker did not take every event before the end; the gap shows in the sequence");
            }
        }
    }

    async fn publish_all(&mut self, finish: &CancellationToken) {
        let mut calls: FuturesUnordered<Call> = FuturesUnordered::new();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let settings = self.settings.borrow_and_update().clone();
            if calls.is_empty() {
                if self.buffer.waiting() == 0 {
                    if finish.is_cancelled() {
                        return;
                    }
                    tokio::select! {
                        () = self.buffer.woken() => {}
                        () = finish.cancelled() => {}
                    }
                    continue;
                }
                self.linger(&settings, finish).await;
            }
            while calls.is_empty()
                || (calls.len() < CATCHING_UP && self.buffer.waiting() > settings.batch)
            {
                let Some(batch) = self.buffer.take() else {
                    break;
                };
                calls.push(self.call(&settings, batch));
            }
            let more = calls.len() < CATCHING_UP;
            tokio::select! {
                Some((batch, outcome)) = calls.next() => {
                    if self.settle(batch, outcome) {
                        backoff.reset();
                    } else {
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                }
                () = self.buffer.woken(), if more => {}
            }
        }
    }

    /// Events of several devices come at about the same time: together they cost one call.
    async fn linger(&self, settings: &Publish, finish: &CancellationToken) {
        let full = async {
            while self.buffer.waiting() < settings.batch {
                self.buffer.woken().await;
            }
        };
        tokio::select! {
            biased;
            () = finish.cancelled() => {}
            () = full => {}
            () = tokio::time::sleep(settings.linger.get()) => {}
        }
    }

    fn call(&self, settings: &Publish, batch: Batch) -> Call {
        let sidecar = Arc::clone(&self.sidecar);
        let (pubsub, topic) = (self.pubsub.clone(), settings.topic.clone());
        Box::pin(async move {
            // The sidecar's calls have a deadline of their own.
            let outcome = sidecar.publish(&pubsub, &topic, &batch.events).await;
            (batch, outcome)
        })
    }

    /// Takes in an outcome. True if every event got through.
    fn settle(&self, batch: Batch, outcome: Result<PublishReport, SidecarError>) -> bool {
        let (failed, reason) = match outcome {
            Ok(report) => {
                let reason = report.failed.first().map(|(_, reason)| reason.clone());
                let failed = report.failed.into_iter().map(|(position, _)| position);
                (failed.collect(), reason)
            }
            Err(error) => ((0..batch.events.len()).collect(), Some(error.to_string())),
        };
        let failed: Vec<usize> = failed;
        let done = self.buffer.settle(batch, &failed);
        self.metrics.published.increment(done as u64);
        self.metrics.publish_errors.increment(failed.len() as u64);
        match reason {
            None => self.health.ready(),
            Some(reason) => {
                tracing::debug!(
                    failed = failed.len(),
                    reason,
                    "not published, will be repeated"
                );
                if done == 0 {
                    self.health
                        .not_ready("events do not get through to the broker");
                }
            }
        }
        failed.is_empty()
    }
}
