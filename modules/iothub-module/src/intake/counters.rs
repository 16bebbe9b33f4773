//! The intake's metrics, looked up once: they are touched for every event.

use metrics::Counter;

pub(super) struct Counters {
    pub(super) received: Counter,
    pub(super) duplicates: Counter,
    pub(super) reordered: Counter,
    pub(super) late: Counter,
    pub(super) after_gap: Counter,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            received: metrics::counter!("fieldgate_iothub_module_received_events_total"),
            duplicates: metrics::counter!("fieldgate_iothub_module_duplicates_total"),
            reordered: metrics::counter!("fieldgate_iothub_module_reordered_total"),
            late: metrics::counter!("fieldgate_iothub_module_late_total"),
            after_gap: metrics::counter!("fieldgate_iothub_module_after_gap_total"),
        }
    }
}
