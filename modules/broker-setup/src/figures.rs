//! What a reconciliation found, as metrics.

use std::collections::BTreeSet;

use broker_setup::Report;

/// Names of consumers that had figures, to end the figures of those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    known: BTreeSet<(String, String)>,
}

impl Figures {
    pub(crate) fn describe() {
        metrics::describe_gauge!("fieldgate_broker_stream_bytes", "Bytes a stream takes");
        metrics::describe_gauge!(
            "fieldgate_broker_stream_limit_bytes",
            "Bytes a stream may take"
        );
        metrics::describe_gauge!("fieldgate_broker_stream_events", "Events in a stream");
        metrics::describe_gauge!(
            "fieldgate_broker_consumer_pending_events",
            "Events not delivered yet"
        );
        metrics::describe_gauge!(
            "fieldgate_broker_consumer_unacknowledged_events",
            "Events delivered and not acknowledged yet"
        );
        metrics::describe_gauge!(
            "fieldgate_broker_consumer_planned",
            "0 for a consumer that is not in the plan: nobody may be reading it any more"
        );
        metrics::describe_gauge!(
            "fieldgate_broker_plan_rejected",
            "1 while the plan's file is invalid and the one before is in force"
        );
        metrics::describe_counter!(
            "fieldgate_broker_reconcile_failures_total",
            "Times that the broker could not be made like its plan"
        );
        Self::rejected(false);
        metrics::counter!("fieldgate_broker_reconcile_failures_total").increment(0);
    }

    pub(crate) fn rejected(rejected: bool) {
        metrics::gauge!("fieldgate_broker_plan_rejected").set(f64::from(u8::from(rejected)));
    }

    pub(crate) fn failed() {
        metrics::counter!("fieldgate_broker_reconcile_failures_total").increment(1);
    }

    pub(crate) fn show(&mut self, report: &Report) {
        for stream in &report.streams {
            let labels = [("stream", stream.name.clone())];
            metrics::gauge!("fieldgate_broker_stream_bytes", &labels).set(stream.bytes as f64);
            metrics::gauge!("fieldgate_broker_stream_limit_bytes", &labels)
                .set(stream.max_bytes as f64);
            metrics::gauge!("fieldgate_broker_stream_events", &labels).set(stream.messages as f64);
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
    metrics::gauge!("fieldgate_broker_consumer_pending_events", &labels).set(pending);
    metrics::gauge!("fieldgate_broker_consumer_unacknowledged_events", &labels).set(unacknowledged);
    metrics::gauge!("fieldgate_broker_consumer_planned", &labels).set(f64::from(u8::from(planned)));
}
