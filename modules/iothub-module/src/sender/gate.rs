//! Whether the hub may be given one more message now: as fast as it takes them, and at times for trial only.

use std::time::{Duration, SystemTime};

use metrics::Gauge;
use tokio::time::Instant;

use crate::metrics::THROTTLE;
use crate::pace::{Loss, Now, Pace, Throttle, ThrottleEvent, ThrottleState};

/// A rate lets no more gather than this share of a second.
const BURST: Duration = Duration::from_millis(100);

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Open,
    /// Nothing before this time.
    At(Instant),
    /// Nothing before the PUBACK of what is on the wire.
    AfterPuback,
}

#[derive(Debug)]
pub(super) struct Gate {
    /// For the log.
    identity: String,
    throttle: Throttle,
    /// When the next message is due by the rate.
    due: Option<Instant>,
    state: Gauge,
}

impl Gate {
    pub(super) fn new(identity: &str) -> Self {
        let state = metrics::gauge!(THROTTLE.name, "identity" => identity.to_owned());
        state.set(0.0);
        Self {
            identity: identity.to_owned(),
            throttle: Throttle::new(),
            due: None,
            state,
        }
    }

    pub(super) fn state(&self) -> ThrottleState {
        self.throttle.state()
    }

    pub(super) fn passage(&self, now: Instant, is_wire_empty: bool) -> Passage {
        match self.throttle.pace(now.into_std()) {
            Pace::Free => Passage::Open,
            Pace::PerSecond(_) => match self.due.and_then(|due| due.checked_sub(BURST)) {
                Some(at) if at > now => Passage::At(at),
                _ => Passage::Open,
            },
            Pace::OneForTrial if is_wire_empty => Passage::Open,
            Pace::OneForTrial => Passage::AfterPuback,
            Pace::NothingUntil(at) => Passage::At(at.into()),
        }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.due = match self.throttle.pace(now.into_std()) {
            Pace::PerSecond(rate) => {
                let gap = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(1));
                Some(self.due.map_or(now, |due| due.max(now)) + gap)
            }
            _ => None,
        };
    }

    pub(super) fn connected(&mut self) {
        self.throttle.connected();
    }

    pub(super) fn acknowledged(&mut self, took: Duration, now: Instant) {
        let event = self.throttle.acknowledged(took, both(now));
        self.tell(event);
    }

    pub(super) fn lost(&mut self, loss: Loss, waiting: Option<Duration>, now: Instant) {
        let event = self.throttle.lost(loss, waiting, both(now));
        self.tell(event);
    }

    pub(super) fn answered_429(&mut self, now: Instant) {
        let event = self.throttle.answered_429(both(now));
        self.tell(event);
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let event = self.throttle.tick(both(now));
        self.tell(event);
    }

    fn tell(&self, event: Option<ThrottleEvent>) {
        let Some(event) = event else { return };
        self.state.set(f64::from(self.throttle.state().number()));
        let identity = self.identity.as_str();
        match event {
            ThrottleEvent::Throttled(_) | ThrottleEvent::QuotaExhausted { .. } => {
                tracing::warn!(identity, "{event}");
            }
            ThrottleEvent::NoLongerThrottled { .. } | ThrottleEvent::QuotaAgain { .. } => {
                tracing::info!(identity, "{event}");
            }
        }
    }
}

fn both(now: Instant) -> Now {
    Now {
        at: now.into_std(),
        utc: SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hub_that_throttles_gets_what_it_takes_and_no_more() {
        let mut gate = Gate::new("gate-7");
        let mut now = Instant::now();
        assert_eq!(gate.passage(now, false), Passage::Open);
        // A hundred a second, and then each takes two seconds.
        for (took, stretches) in [(10, 1), (2000, 3)] {
            for _ in 0..stretches * 600 {
                now += Duration::from_millis(10);
                gate.acknowledged(Duration::from_millis(took), now);
            }
        }
        assert_eq!(gate.state().word(), "throttled");
        let mut sent = 0;
        let end = now + Duration::from_secs(2);
        while now < end {
            match gate.passage(now, false) {
                Passage::Open => {
                    gate.sent(now);
                    sent += 1;
                }
                Passage::At(at) => now = at,
                Passage::AfterPuback => panic!("nothing is tried"),
            }
        }
        assert!((200..245).contains(&sent), "{sent}");
    }

    #[tokio::test]
    async fn with_the_quota_used_up_one_message_is_tried_at_a_time() {
        let mut gate = Gate::new("gate-7");
        let mut now = Instant::now();
        gate.acknowledged(Duration::from_millis(10), now);
        for _ in 0..6 {
            gate.connected();
            now += Duration::from_secs(15);
            gate.lost(Loss::ByHub, Some(Duration::from_millis(50)), now);
        }
        assert_eq!(gate.state().word(), "quota-exhausted");
        let Passage::At(trial) = gate.passage(now, true) else {
            panic!("it waits before the first trial")
        };
        assert_eq!(gate.passage(trial, true), Passage::Open);
        assert_eq!(gate.passage(trial, false), Passage::AfterPuback);
        gate.acknowledged(Duration::from_millis(10), trial);
        assert_eq!(gate.passage(trial, false), Passage::Open);
    }
}
