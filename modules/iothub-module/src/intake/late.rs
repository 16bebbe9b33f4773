//! Tells when events are stored behind their successors, which the bounds of the sequencer are there to prevent.

use std::time::Duration;

use tokio::time::Instant;

/// It is told at once, and then with a number after so long.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Late {
    reorder_wait: Duration,
    told: Option<Instant>,
    untold: u64,
}

impl Late {
    pub(super) fn new(reorder_wait: Duration) -> Self {
        Self {
            reorder_wait,
            told: None,
            untold: 0,
        }
    }

    pub(super) fn came(&mut self, now: Instant) {
        self.untold += 1;
        if self.told.is_some_and(|told| now < told + AGAIN) {
            return;
        }
        self.told = Some(now);
        tracing::warn!(
            events = std::mem::take(&mut self.untold),
            reorder_wait = ?self.reorder_wait,
            "events came too late and are stored behind their successors; if the broker delivered them again, make intake.reorder_wait longer than it takes to: ackWait and redeliverDelay of the pub/sub component"
        );
    }
}
