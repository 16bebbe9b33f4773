//! What the module tells about itself: gauges for Prometheus, details for the status.

use std::time::{Duration, SystemTime};

use measurement::rfc3339_micros;
use module_runtime::StatusPublisher;
use serde_json::{Value, json};
use store_forward::{Queue, QueueStats};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::{
    CONNECTED, DROPPED, QUEUE_BYTES, QUEUE_OLDEST_AGE, QUEUE_WRITABLE, QUEUED_EVENTS, RECONNECTS,
    STORAGE_ERRORS,
};

const EVERY: Duration = Duration::from_secs(1);
/// Figures that change all the time go into the status only so often; what matters goes at once.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// Between two trials of a queue that took nothing.
const TRIAL_EVERY: Duration = Duration::from_secs(15);
const TRIAL: Duration = Duration::from_secs(5);

/// The connection to the hub, as far as the status tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubState {
    /// Connections since the start.
    pub connections: u64,
    /// Since when there is one.
    pub connected_since: Option<SystemTime>,
    /// Why there is none, or why the last one ended.
    pub last_error: Option<String>,
}

/// Where the figures come from.
#[derive(Debug, Clone)]
pub struct Figures {
    queue: Queue,
    hub: watch::Receiver<HubState>,
    restart_needed: watch::Receiver<Vec<&'static str>>,
}

impl Figures {
    /// Figures of these parts; `restart_needed` names the configuration's keys that changed without effect.
    #[must_use]
    pub fn new(
        queue: Queue,
        hub: watch::Receiver<HubState>,
        restart_needed: watch::Receiver<Vec<&'static str>>,
    ) -> Self {
        Self {
            queue,
            hub,
            restart_needed,
        }
    }

    /// The status' details, as of now.
    #[must_use]
    pub fn details(&self) -> Value {
        let stats = self.queue.stats();
        let mut details = self.notable(&stats);
        details["queue"] = json!({
            "events": stats.depth,
            "bytes": stats.file_bytes,
            "oldest_age_seconds": stats.oldest_age.map_or(0, |age| age.as_secs()),
            "dropped_oldest": stats.dropped_oldest,
            "dropped_newest": stats.dropped_newest,
            "dropped_expired": stats.dropped_expired,
            "dropped_purged": stats.dropped_purged,
            "dropped_downgrade": stats.dropped_downgrade,
            "corrupt_rows": stats.corrupt_rows,
            "last_error": stats.last_error,
        });
        details
    }

    /// What is worth a status at once; of drops, that there are some.
    fn notable(&self, stats: &QueueStats) -> Value {
        let hub = self.hub.borrow();
        let dropped = stats.dropped_oldest
            + stats.dropped_newest
            + stats.dropped_expired
            + stats.dropped_purged
            + stats.dropped_downgrade
            + stats.corrupt_rows;
        json!({
            "hub": {
                "connected_since": hub.connected_since.map(|since| rfc3339_micros(OffsetDateTime::from(since))),
                "error": hub.last_error,
            },
            "restart_needed": *self.restart_needed.borrow(),
            "queue": {"dropping": dropped > 0, "last_error": stats.last_error},
        })
    }

    /// Without events nothing would say that the queue takes none: a trial at the start, and until one succeeds.
    async fn try_queue(&self) {
        if self.queue.stats().writable {
            return;
        }
        // Its failure is counted and logged by the queue.
        let _ = tokio::time::timeout(TRIAL, self.queue.trial_write()).await;
    }

    fn gauges(&self) {
        let stats = self.queue.stats();
        let hub = self.hub.borrow();
        let age = stats.oldest_age.unwrap_or_default().as_secs_f64();
        // A gauge is a float; a count beyond 2^53 is out of reach.
        #[allow(clippy::cast_precision_loss, reason = "counts of rows and bytes")]
        let float = |count: u64| count as f64;
        metrics::gauge!(QUEUED_EVENTS.name).set(float(stats.depth));
        metrics::gauge!(QUEUE_BYTES.name).set(float(stats.file_bytes));
        metrics::gauge!(QUEUE_WRITABLE.name).set(if stats.writable { 1.0 } else { 0.0 });
        metrics::gauge!(QUEUE_OLDEST_AGE.name).set(age);
        metrics::gauge!(CONNECTED.name).set(if hub.connected_since.is_some() {
            1.0
        } else {
            0.0
        });
        metrics::counter!(RECONNECTS.name).absolute(hub.connections.saturating_sub(1));
        metrics::counter!(STORAGE_ERRORS.name).absolute(stats.storage_errors);
        let dropped = [
            ("oldest", stats.dropped_oldest),
            ("newest", stats.dropped_newest),
            ("expired", stats.dropped_expired),
            ("purged", stats.dropped_purged),
            ("downgrade", stats.dropped_downgrade),
            ("corrupt-row", stats.corrupt_rows),
        ];
        for (reason, count) in dropped {
            metrics::counter!(DROPPED.name, "reason" => reason).absolute(count);
        }
    }
}

/// Keeps gauges and status up to date until `shutdown`; `own` gets the whole status for the twin.
pub async fn run(
    figures: Figures,
    status: StatusPublisher,
    own: watch::Sender<Value>,
    shutdown: CancellationToken,
) {
    let mut told = None;
    let mut due = Instant::now();
    let mut trial_due = Instant::now();
    loop {
        if Instant::now() >= trial_due {
            figures.try_queue().await;
            trial_due = Instant::now() + TRIAL_EVERY;
        }
        figures.gauges();
        let notable = figures.notable(&figures.queue.stats());
        if told.as_ref() != Some(&notable) || Instant::now() >= due {
            status.details(figures.details());
            told = Some(notable);
            due = Instant::now() + STATUS_EVERY;
        }
        let data = status.data();
        own.send_if_modified(|known| {
            let changed = *known != data;
            *known = data;
            changed
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
