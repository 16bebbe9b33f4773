//! The intake's metrics, looked up once: they are touched for every event.

use metrics::Counter;

use crate::metrics::{AFTER_GAP, DUPLICATES, LATE, RECEIVED, REORDERED};

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
            received: metrics::counter!(RECEIVED.name),
            duplicates: metrics::counter!(DUPLICATES.name),
            reordered: metrics::counter!(REORDERED.name),
            late: metrics::counter!(LATE.name),
            after_gap: metrics::counter!(AFTER_GAP.name),
        }
    }
}
