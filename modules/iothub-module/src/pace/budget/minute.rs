//! The bound of any 60 seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MINUTE: u64 = 60;

/// What was spent in each second of the last minute.
#[derive(Debug)]
pub(super) struct Minute {
    start: Instant,
    /// Second since `start`, and bytes; oldest first.
    seconds: VecDeque<(u64, u64)>,
    /// A message larger than the bound is being paid off.
    paid_off: Option<Instant>,
    /// Since when a message waits that is larger than what it may use, and the smallest such.
    large: Option<(Instant, u64)>,
}

impl Minute {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            seconds: VecDeque::new(),
            paid_off: None,
            large: None,
        }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    /// A second counts until one minute after its end: so no 60 seconds hold more than the bound, wherever they begin.
    fn forget(&mut self, now: Instant) {
        let now_second = self.second(now);
        while self
            .seconds
            .front()
            .is_some_and(|(second, _)| second + MINUTE < now_second)
        {
            self.seconds.pop_front();
        }
    }

    pub(super) fn spent(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.seconds.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn wait(&mut self, bytes: u64, bound: u64, now: Instant) -> Option<Instant> {
        if let Some(paid_off) = self.paid_off.filter(|at| *at > now) {
            return Some(paid_off);
        }
        let mut spent = self.spent(now);
        if spent == 0 {
            // Even if it is larger than the bound: else it would wait for ever.
            return None;
        }
        // It would wait for ever where something smaller goes in every minute.
        let at_latest = (bytes > bound).then(|| {
            let (since, least) = self.large.unwrap_or((now, bytes));
            self.large = Some((since, least.min(bytes)));
            since + Duration::from_secs(MINUTE)
        });
        if at_latest.is_some_and(|at| at <= now) {
            return None;
        }
        for (second, freed) in &self.seconds {
            if spent.saturating_add(bytes) <= bound {
                break;
            }
            spent -= freed;
            if spent.saturating_add(bytes) <= bound || spent == 0 {
                let free = self.start + Duration::from_secs(second + MINUTE + 1);
                return Some(at_latest.map_or(free, |at| at.min(free)));
            }
        }
        None
    }

    pub(super) fn spend(&mut self, bytes: u64, bound: Option<u64>, now: Instant) {
        let second = self.second(now);
        match self.seconds.back_mut() {
            Some((last, spent)) if *last >= second => *spent = spent.saturating_add(bytes),
            _ => self.seconds.push_back((second, bytes)),
        }
        let is_large = self.large.is_some_and(|(_, least)| bytes >= least);
        if is_large {
            self.large = None;
        }
        let owed = if is_large { self.spent(now) } else { bytes };
        if let Some(bound) = bound.filter(|bound| owed > *bound) {
            #[allow(clippy::cast_precision_loss, reason = "a time to wait")]
            let minutes = owed as f64 / bound.max(1) as f64;
            let pause = Duration::try_from_secs_f64(minutes * 60.0);
            self.paid_off = pause.ok().and_then(|pause| now.checked_add(pause));
        }
    }
}
