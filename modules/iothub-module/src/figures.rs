//! What the module tells about itself: gauges for Prometheus, details for the status.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use measurement::rfc3339_micros;
use module_runtime::StatusPublisher;
use serde_json::{Value, json};
use store_forward::{Priority, Queue, QueueStats};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metered::Metered;
use crate::metrics::{
    COMPACTIONS, CONNECTED, DROPPED, QUEUE_BYTES, QUEUE_OLDEST_AGE, QUEUE_STORED, QUEUE_WRITABLE,
    QUEUE_WRITTEN, QUEUED_BY_PRIORITY, QUEUED_BY_ROUTE, QUEUED_EVENTS, RECONNECTS, STORAGE_ERRORS,
    STORED_EVENTS,
};
use crate::pace::{Bound, ThrottleState};
use crate::sender::SenderState;

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

/// What sends, once the credentials are there.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// The identity in `hub` first.
    pub identities: Vec<IdentityFigures>,
    /// The byte budget, if there is one.
    pub budget: Option<Arc<Metered>>,
}

/// One identity.
#[derive(Debug, Clone)]
pub struct IdentityFigures {
    /// As the hub knows it.
    pub name: String,
    /// Its connection.
    pub hub: watch::Receiver<HubState>,
    /// Its sender.
    pub sender: Arc<Mutex<SenderState>>,
}

impl IdentityFigures {
    fn sender(&self) -> SenderState {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the figures come from.
#[derive(Debug, Clone)]
pub struct Figures {
    queue: Queue,
    board: watch::Receiver<Board>,
    hub: watch::Receiver<HubState>,
    restart_needed: watch::Receiver<Vec<&'static str>>,
}

impl Figures {
    /// Figures of these parts; `restart_needed` names the configuration's keys that changed without effect.
    #[must_use]
    pub fn new(
        queue: Queue,
        hub: watch::Receiver<HubState>,
        board: watch::Receiver<Board>,
        restart_needed: watch::Receiver<Vec<&'static str>>,
    ) -> Self {
        Self {
            queue,
            board,
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
            "by_priority": by_priority(&stats),
            "by_route": by_route(&stats),
        });
        let board = self.board.borrow();
        if let Some(main) = board.identities.first() {
            let sender = main.sender();
            details["hub"]["window"] = json!(sender.window);
            details["hub"]["puback_ms"] = sender.puback.map_or(
                Value::Null,
                |(median, p99)| json!({"p50": milliseconds(median), "p99": milliseconds(p99)}),
            );
        }
        if let Some(budget) = &board.budget {
            let state = budget.state();
            let bound = |(used, bound): (u64, Option<u64>)| json!({"bytes": used, "of": bound});
            details["budget"]["minute"] = bound(state.minute);
            details["budget"]["month"] = bound(state.month);
        }
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
        let board = self.board.borrow();
        let main = board.identities.first();
        let throttle = main.map_or(ThrottleState::Free, |main| main.sender().throttle);
        let mut notable = json!({
            "hub": {
                "connected_since": hub.connected_since.map(rfc3339),
                "error": hub.last_error,
                "throttle": throttle.word(),
            },
            "restart_needed": *self.restart_needed.borrow(),
            "queue": {"dropping": dropped > 0, "last_error": stats.last_error},
        });
        if let ThrottleState::Throttled { since } | ThrottleState::QuotaExhausted { since, .. } =
            throttle
        {
            notable["hub"]["throttle_since"] = json!(rfc3339(since));
        }
        let others = board.identities.iter().skip(1).map(|identity| {
            let hub = identity.hub.borrow();
            json!({
                "name": identity.name,
                "connected_since": hub.connected_since.map(rfc3339),
                "error": hub.last_error,
                "throttle": identity.sender().throttle.word(),
            })
        });
        let others: Vec<Value> = others.collect();
        if !others.is_empty() {
            notable["identities"] = Value::Array(others);
        }
        if let Some(budget) = &board.budget {
            let holds = budget.state().holds.map(Bound::word);
            notable["budget"] = json!({"holds": holds});
        }
        notable
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
        for (reason, count) in [
            ("downgrade", stats.dropped_downgrade),
            ("corrupt-row", stats.corrupt_rows),
        ] {
            metrics::counter!(DROPPED.name, "reason" => reason).absolute(count);
        }
        for dropped in &stats.drops {
            metrics::counter!(
                DROPPED.name,
                "reason" => dropped.reason.as_str(),
                "priority" => dropped.priority.to_string(),
                "route" => dropped.route.as_str().to_owned()
            )
            .absolute(dropped.items);
        }
        for (priority, of) in Priority::descending().rev().zip(&stats.priorities) {
            metrics::gauge!(QUEUED_BY_PRIORITY.name, "priority" => priority.to_string())
                .set(float(of.flow.depth));
        }
        for (route, flow) in &stats.routes {
            let route = route.as_str();
            metrics::gauge!(QUEUED_BY_ROUTE.name, "route" => route.to_owned())
                .set(float(flow.depth));
            metrics::counter!(STORED_EVENTS.name, "route" => route.to_owned())
                .absolute(flow.appended);
        }
        metrics::counter!(QUEUE_STORED.name).absolute(stats.appended_bytes);
        metrics::counter!(QUEUE_WRITTEN.name).absolute(stats.written_bytes);
        metrics::counter!(COMPACTIONS.name).absolute(stats.compactions);
    }
}

fn rfc3339(time: SystemTime) -> String {
    rfc3339_micros(OffsetDateTime::from(time))
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Events by priority, where there are any.
fn by_priority(stats: &QueueStats) -> Value {
    let all = Priority::descending().rev().zip(&stats.priorities);
    let some = all.filter(|(_, of)| of.flow.depth > 0);
    some.map(|(priority, of)| (priority.to_string(), json!(of.flow.depth)))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

/// Events by route, where there are any.
fn by_route(stats: &QueueStats) -> Value {
    let some = stats.routes.iter().filter(|(_, flow)| flow.depth > 0);
    some.map(|(route, flow)| (route.as_str().to_owned(), json!(flow.depth)))
        .collect::<serde_json::Map<String, Value>>()
        .into()
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
