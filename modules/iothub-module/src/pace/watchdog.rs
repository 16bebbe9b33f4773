//! When a missing PUBACK means that the link is dead.
//!
//! A connection can be gone without anybody saying so: a NAT that forgot it, a modem that changed its cell. TCP takes minutes to notice. The
//! bound follows the line: twenty times what a PUBACK takes at most (mean and four mean deviations, the estimate of RFC 6298), within a floor
//! that a change of cells or a pause of the hub stays under, and a ceiling. Nothing is known yet: the ceiling.
//!
//! A slow line on which PUBACKs keep coming is not a dead one. The link is dead when the oldest message is over the bound *and* either nothing at
//! all was confirmed for as long, or a later message was confirmed before it (the hub has passed it over).

use std::time::{Duration, Instant};

/// How often what a PUBACK takes at most.
const TIMES: f64 = 20.0;

/// Least and greatest bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogBounds {
    /// No link is called dead sooner.
    pub floor: Duration,
    /// No PUBACK is waited for longer.
    pub ceiling: Duration,
}

/// What is to be done about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is waited for.
    Idle,
    /// Nothing; ask again at this time if no PUBACK has come until then.
    LookAgain(Instant),
    /// The link is dead: make a new connection.
    Reconnect {
        /// How long the oldest message has waited.
        waited: Duration,
    },
}

/// The oldest message without PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oldest {
    /// When it was sent.
    pub sent: Instant,
    /// Whether a message that was sent after it was confirmed.
    pub passed_over: bool,
}

/// See the module's documentation. What it has learned of the line outlives a connection.
#[derive(Debug, Clone)]
pub struct Watchdog {
    bounds: WatchdogBounds,
    /// Mean and mean deviation in seconds.
    line: Option<(f64, f64)>,
    last_puback: Option<Instant>,
}

impl Watchdog {
    /// A watchdog that knows nothing of the line yet. A floor above the ceiling counts as the ceiling.
    #[must_use]
    pub fn new(bounds: WatchdogBounds) -> Self {
        Self {
            bounds,
            line: None,
            last_puback: None,
        }
    }

    /// A new connection: silence counts from here.
    pub fn connected(&mut self) {
        self.last_puback = None;
    }

    /// A PUBACK came, `took` after its message was sent.
    pub fn acknowledged(&mut self, took: Duration, now: Instant) {
        self.last_puback = Some(now);
        let took = took.as_secs_f64();
        self.line = Some(match self.line {
            None => (took, took / 2.0),
            Some((mean, deviation)) => (
                mean + (took - mean) / 8.0,
                deviation + ((took - mean).abs() - deviation) / 4.0,
            ),
        });
    }

    /// How long a PUBACK may be missing.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let ceiling = self.bounds.ceiling;
        let Some((mean, deviation)) = self.line else {
            return ceiling;
        };
        Duration::try_from_secs_f64(TIMES * (mean + 4.0 * deviation))
            .unwrap_or(ceiling)
            .clamp(self.bounds.floor.min(ceiling), ceiling)
    }

    /// Looks at the oldest message without PUBACK.
    #[must_use]
    pub fn look(&self, oldest: Option<Oldest>, now: Instant) -> Verdict {
        let Some(oldest) = oldest else {
            return Verdict::Idle;
        };
        let bound = self.bound();
        // Whoever is passed over need not be excused by what comes after it.
        let since = match self.last_puback {
            Some(last) if !oldest.passed_over => last.max(oldest.sent),
            _ => oldest.sent,
        };
        let due = since + bound;
        if now < due {
            Verdict::LookAgain(due)
        } else {
            Verdict::Reconnect {
                waited: now.saturating_duration_since(oldest.sent),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: WatchdogBounds = WatchdogBounds {
        floor: Duration::from_secs(10),
        ceiling: Duration::from_secs(30),
    };

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn after(took: f64, count: usize) -> (Watchdog, Instant) {
        let mut watchdog = Watchdog::new(BOUNDS);
        let mut now = Instant::now();
        for _ in 0..count {
            now += seconds(took);
            watchdog.acknowledged(seconds(took), now);
        }
        (watchdog, now)
    }

    fn waiting(sent: Instant) -> Option<Oldest> {
        Some(Oldest {
            sent,
            passed_over: false,
        })
    }

    #[test]
    fn the_bound_follows_the_line() {
        assert_eq!(Watchdog::new(BOUNDS).bound(), seconds(30.0));
        assert_eq!(after(0.020, 50).0.bound(), seconds(10.0));
        let slow = after(0.8, 100).0.bound();
        assert!(slow > seconds(15.0) && slow < seconds(17.0), "{slow:?}");
        assert_eq!(after(8.0, 50).0.bound(), seconds(30.0));
    }

    #[test]
    fn silence_is_a_dead_link() {
        let (watchdog, sent) = after(0.020, 50);
        let due = sent + seconds(10.0);
        assert_eq!(watchdog.look(None, sent + seconds(99.0)), Verdict::Idle);
        let before = due - Duration::from_millis(1);
        assert_eq!(
            watchdog.look(waiting(sent), before),
            Verdict::LookAgain(due)
        );
        let dead = Verdict::Reconnect {
            waited: seconds(10.0),
        };
        assert_eq!(watchdog.look(waiting(sent), due), dead);
    }

    #[test]
    fn slow_progress_in_order_is_not_a_dead_link() {
        let (mut watchdog, start) = after(0.020, 50);
        let mut now = start;
        // The messages wait ever longer, but one PUBACK comes every five seconds.
        for _ in 0..20 {
            now += seconds(5.0);
            watchdog.acknowledged(now.duration_since(start), now);
            let verdict = watchdog.look(waiting(start), now + seconds(4.9));
            assert!(matches!(verdict, Verdict::LookAgain(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_message_that_was_passed_over_is_not_excused_by_later_ones() {
        let (mut watchdog, sent) = after(0.020, 50);
        watchdog.acknowledged(seconds(0.020), sent + seconds(9.9));
        let oldest = Oldest {
            sent,
            passed_over: true,
        };
        assert!(matches!(
            watchdog.look(Some(oldest), sent + seconds(10.0)),
            Verdict::Reconnect { .. }
        ));
    }

    #[test]
    fn a_message_after_a_long_rest_has_its_whole_time() {
        let (watchdog, last) = after(0.020, 50);
        let sent = last + seconds(3600.0);
        let verdict = watchdog.look(waiting(sent), sent + seconds(9.0));
        assert_eq!(verdict, Verdict::LookAgain(sent + seconds(10.0)));
    }

    proptest! {
        #[test]
        fn the_bound_is_within_floor_and_ceiling_and_verdicts_keep_to_it(
            took in prop::collection::vec(0.0_f64..100.0, 0..60), floor in 0_u64..60, ceiling in 1_u64..60, waited in 0.0_f64..100.0,
        ) {
            let bounds = WatchdogBounds { floor: Duration::from_secs(floor), ceiling: Duration::from_secs(ceiling) };
            let mut watchdog = Watchdog::new(bounds);
            let start = Instant::now();
            for took in took {
                watchdog.acknowledged(seconds(took), start);
            }
            let bound = watchdog.bound();
            prop_assert!(bound >= bounds.floor.min(bounds.ceiling) && bound <= bounds.ceiling);
            match watchdog.look(waiting(start), start + seconds(waited)) {
                Verdict::Idle => prop_assert!(false),
                Verdict::LookAgain(at) => prop_assert!(seconds(waited) < bound && at == start + bound),
                Verdict::Reconnect { .. } => prop_assert!(seconds(waited) >= bound),
            }
        }
    }
}
