//! What the sender knows of the line: how much may be on it, and whether it is dead.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::Gauge;
use tokio::time::Instant;

use crate::metrics::WINDOW;
use crate::pace::{Latency, Oldest, Sent, Verdict, Watchdog, WatchdogBounds, Window, WindowBounds};

/// Bounds of window and watchdog.
#[derive(Debug, Clone, Copy)]
pub struct LineOptions {
    /// Messages that may wait for their PUBACK.
    pub window: WindowBounds,
    /// How long a PUBACK may be missing.
    pub watchdog: WatchdogBounds,
}

#[derive(Debug)]
pub(super) struct Line {
    window: Window,
    watchdog: Watchdog,
    /// Without PUBACK, in the order of sending.
    waiting: BTreeMap<u64, Instant>,
    /// The latest in that order that was confirmed.
    confirmed: Option<u64>,
    latency: Latency,
    size: Gauge,
}

impl Line {
    pub(super) fn new(options: LineOptions, identity: &str) -> Self {
        let line = Self {
            window: Window::new(options.window),
            watchdog: Watchdog::new(options.watchdog),
            waiting: BTreeMap::new(),
            confirmed: None,
            latency: Latency::new(),
            size: metrics::gauge!(WINDOW.name, "identity" => identity.to_owned()),
        };
        line.show();
        line
    }

    pub(super) fn has_room(&self) -> bool {
        self.window.has_room()
    }

    pub(super) fn sent(&mut self, now: Instant) -> Sent {
        let sent = self.window.sent(now.into_std());
        self.waiting.insert(sent.turn(), now);
        sent
    }

    /// How long it took.
    pub(super) fn acknowledged(&mut self, sent: &Sent, now: Instant) -> Duration {
        let took = now.into_std().saturating_duration_since(sent.at());
        self.waiting.remove(&sent.turn());
        self.confirmed = self.confirmed.max(Some(sent.turn()));
        self.watchdog.acknowledged(took, now.into_std());
        self.latency.add(took);
        if self.window.acknowledged(sent, now.into_std()).is_some() {
            self.show();
        }
        took
    }

    /// Messages that may wait for their PUBACK.
    pub(super) fn window(&self) -> usize {
        self.window.size()
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// How long the oldest message has waited.
    pub(super) fn waiting(&self, now: Instant) -> Option<Duration> {
        let (_, sent) = self.waiting.first_key_value()?;
        Some(now.saturating_duration_since(*sent))
    }

    pub(super) fn connected(&mut self) {
        self.watchdog.connected();
    }

    /// A connection on which everything was confirmed to the end was not lost but ended: for a new token, say.
    pub(super) fn ended(&mut self, unconfirmed: usize) {
        self.window.ended(unconfirmed == 0);
        self.waiting.clear();
        self.show();
    }

    /// How long the oldest message has waited, if the link is dead.
    pub(super) fn dead(&self, now: Instant) -> Option<Duration> {
        let oldest = self.waiting.first_key_value().map(|(turn, sent)| Oldest {
            sent: sent.into_std(),
            passed_over: self.confirmed.is_some_and(|confirmed| confirmed > *turn),
        });
        match self.watchdog.look(oldest, now.into_std()) {
            Verdict::Reconnect { waited } => Some(waited),
            Verdict::Idle | Verdict::LookAgain(_) => None,
        }
    }

    fn show(&self) {
        // A gauge is a float.
        #[allow(clippy::cast_precision_loss, reason = "at most 65535")]
        self.size.set(self.window.size() as f64);
    }
}
