//! What a reconciliation found, as metrics.

use std::collections::BTreeSet;

use broker_setup::Report;

module_runtime::figures! {
    STREAM_BYTES = gauge "fieldgate_broker_stream_bytes", "Bytes a stream takes";
    STREAM_LIMIT = gauge "fieldgate_broker_stream_limit_bytes", "Bytes a stream may take";
    STREAM_EVENTS = gauge "fieldgate_broker_stream_events", "Events in a stream";
    PENDING = gauge "fieldgate_broker_consumer_pending_events", "Events not delivered yet";
    UNACKNOWLEDGED = gauge "fieldgate_broker_consumer_unacknowledged_events", "Events delivered and not acknowledged yet";
    PLANNED = gauge "fieldgate_broker_consumer_planned", "0 for a consumer that is not in the plan: nobody may be reading it any more";
    REJECTED = gauge "fieldgate_broker_plan_rejected", "1 while the plan's file is not in force, and the one before is";
    FAILURES = counter "fieldgate_broker_reconcile_failures_total", "Times that the broker could not be made like its plan";
}

/// Shows what is found. It knows which consumers had figures, to end the figures of those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    known: BTreeSet<(String, String)>,
}

impl Figures {
    pub(crate) fn describe() {
        module_runtime::describe(ALL);
        Self::rejected(false);
        metrics::counter!(FAILURES.name).increment(0);
    }

    pub(crate) fn rejected(rejected: bool) {
        metrics::gauge!(REJECTED.name).set(f64::from(u8::from(rejected)));
    }

    pub(crate) fn failed() {
        metrics::counter!(FAILURES.name).increment(1);
    }

    pub(crate) fn show(&mut self, report: &Report) {
        for stream in &report.streams {
            let labels = [("stream", stream.name.clone())];
            metrics::gauge!(STREAM_BYTES.name, &labels).set(stream.bytes as f64);
            metrics::gauge!(STREAM_LIMIT.name, &labels).set(stream.max_bytes as f64);
            metrics::gauge!(STREAM_EVENTS.name, &labels).set(stream.messages as f64);
        }
        let mut gone = std::mem::take(&mut self.known);
        for consumer in &report.consumers {
            let name = (consumer.stream.clone(), consumer.durable.clone());
            gone.remove(&name);
            let waiting = (consumer.pending as f64, consumer.unacknowledged as f64);
            show_consumer(&name, waiting, consumer.planned);
            self.known.insert(name);
        }
        // A recorder cannot forget a series; a consumer that does not exist has nothing waiting.
        for name in &gone {
            show_consumer(name, (0.0, 0.0), true);
        }
    }
}

fn show_consumer((stream, durable): &(String, String), waiting: (f64, f64), planned: bool) {
    let labels = [("stream", stream.clone()), ("consumer", durable.clone())];
    let (pending, unacknowledged) = waiting;
    metrics::gauge!(PENDING.name, &labels).set(pending);
    metrics::gauge!(UNACKNOWLEDGED.name, &labels).set(unacknowledged);
    metrics::gauge!(PLANNED.name, &labels).set(f64::from(u8::from(planned)));
}
