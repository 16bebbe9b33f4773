//! Throttling and a used-up quota, as they show over MQTT.
//!
//! MQTT 3.1.1 has no error reply to PUBLISH. IoT Hub lets a first burst pass, then shapes: it takes messages at the rate of its limit, so PUBACKs
//! come late; then it ends connections. When the quota of the day is used up, nothing is taken until the next day in UTC (device guide, "IoT
//! Hub quotas and throttling"; a twin request is answered with 429, which is the only plain word).
//!
//! | seen | state |
//! |---|---|
//! | for 5 s half of the PUBACKs or more take 1 s and five times what is usual | throttled |
//! | the hub ends a connection on which a message has waited that long | throttled |
//! | the hub ends three connections within a minute | throttled |
//! | a request is answered with 429 | throttled |
//! | the hub ends five connections in a row, over a minute or more, each without a single PUBACK, where there were PUBACKs before | quota exhausted |
//! | PUBACKs in time for 10 s, or nothing of all that for a minute | free |
//! | a PUBACK, or the next day in UTC | quota no longer exhausted |
//!
//! A line that has become much slower looks like throttling; the consequence does no harm there. An exhausted quota is a conclusion, so it is
//! tried again at times, one message each.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::loss::Loss;

/// No PUBACK within this time is late.
const LATE: Duration = Duration::from_secs(1);
/// Nor within so many times the usual.
const LATE_TIMES: u32 = 5;
/// PUBACKs are judged together over this time.
const STRETCH: Duration = Duration::from_secs(5);
/// Stretches in time until throttling is over.
const GOOD_STRETCHES: u8 = 2;
/// How long a sign of throttling counts.
const SIGN: Duration = Duration::from_secs(60);
/// Connections that the hub ends within [`SIGN`].
const ENDS: usize = 3;
/// Connections without PUBACK in a row, and over how long at least, that mean an exhausted quota.
const FRUITLESS: u32 = 5;
const FRUITLESS_TIME: Duration = Duration::from_secs(60);
/// Between two trials while the quota is exhausted: first and longest.
const TRIAL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
const DAY: u64 = 86_400;
/// The rate while throttled, of what the hub confirms.
const RATE: f64 = 1.1;

/// The time by both clocks. States are shown in UTC; what is waited for goes by the clock that never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the clock that never jumps.
    pub at: Instant,
    /// By the wall clock.
    pub utc: SystemTime,
}

/// Where the hub stands, for status and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ThrottleState {
    /// It takes what it gets.
    #[default]
    Free,
    /// It takes less than it could be given.
    Throttled {
        /// Since when.
        since: SystemTime,
    },
    /// It takes nothing.
    QuotaExhausted {
        /// Since when.
        since: SystemTime,
        /// The next day in UTC by the clock of now.
        until: SystemTime,
    },
}

impl ThrottleState {
    /// In one word, for the status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Throttled { .. } => "throttled",
            Self::QuotaExhausted { .. } => "quota-exhausted",
        }
    }

    /// 0, 1 or 2, for the metrics.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Throttled { .. } => 1,
            Self::QuotaExhausted { .. } => 2,
        }
    }
}

/// A state begins or ends: worth one line in the log each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ThrottleEvent {
    /// Throttling began.
    Throttled(Sign),
    /// It is over.
    NoLongerThrottled {
        /// How long it took.
        after: Duration,
    },
    /// The quota seems to be used up.
    QuotaExhausted {
        /// Until then.
        until: SystemTime,
    },
    /// Messages are taken again.
    QuotaAgain {
        /// How long it took.
        after: Duration,
    },
}

/// What was taken for throttling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sign {
    /// PUBACKs that take at least so long, where `usual` is usual.
    LatePubacks {
        /// What counts as late.
        bound: Duration,
        /// What is usual.
        usual: Duration,
    },
    /// The hub ends connections.
    EndedConnections,
    /// A request was answered with 429.
    Answered429,
}

/// What the sender may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the window allows.
    Free,
    /// At most so many messages per second.
    PerSecond(f64),
    /// One message; the next one only after its PUBACK.
    OneForTrial,
    /// Nothing before this time.
    NothingUntil(Instant),
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    Free,
    Throttled {
        since: Now,
    },
    Exhausted {
        since: Now,
        /// By the clock that never jumps.
        over: Instant,
        until: SystemTime,
        next_trial: Instant,
        wait: Duration,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Throttle {
    standing: Standing,
    /// Mean of the PUBACKs that came in time.
    usual: Option<f64>,
    stretch: Stretch,
    good: u8,
    last_sign: Option<Instant>,
    /// Connections that the hub ended.
    ends: VecDeque<Instant>,
    /// Connections without a PUBACK, in a row, and since when.
    fruitless: Option<(u32, Instant)>,
    /// PUBACKs since the connection began.
    confirmed: u64,
    ever_confirmed: bool,
    /// PUBACKs per second in the last stretch.
    rate: f64,
}

#[derive(Debug, Default)]
struct Stretch {
    since: Option<Instant>,
    all: u32,
    late: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// Free, and nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            standing: Standing::Free,
            usual: None,
            stretch: Stretch::default(),
            good: 0,
            last_sign: None,
            ends: VecDeque::with_capacity(ENDS),
            fruitless: None,
            confirmed: 0,
            ever_confirmed: false,
            rate: 0.0,
        }
    }

    /// Where the hub stands.
    #[must_use]
    pub fn state(&self) -> ThrottleState {
        match self.standing {
            Standing::Free => ThrottleState::Free,
            Standing::Throttled { since } => ThrottleState::Throttled { since: since.utc },
            Standing::Exhausted { since, until, .. } => ThrottleState::QuotaExhausted {
                since: since.utc,
                until,
            },
        }
    }

    /// What the sender may do now.
    #[must_use]
    pub fn pace(&self, now: Instant) -> Pace {
        match self.standing {
            Standing::Free => Pace::Free,
            // Without a figure the window alone holds it back.
            Standing::Throttled { .. } if self.rate <= 0.0 => Pace::Free,
            Standing::Throttled { .. } => Pace::PerSecond((self.rate * RATE).max(1.0)),
            Standing::Exhausted { next_trial, .. } if now < next_trial => {
                Pace::NothingUntil(next_trial)
            }
            Standing::Exhausted { .. } => Pace::OneForTrial,
        }
    }

    /// From which time on a PUBACK is late.
    #[must_use]
    pub fn late(&self) -> Duration {
        let usual = Duration::try_from_secs_f64(self.usual.unwrap_or_default()).unwrap_or_default();
        LATE.max(usual.saturating_mul(LATE_TIMES))
    }

    /// A PUBACK came, `took` after its message was sent.
    pub fn acknowledged(&mut self, took: Duration, now: Now) -> Option<ThrottleEvent> {
        self.confirmed += 1;
        self.ever_confirmed = true;
        self.fruitless = None;
        let seconds = took.as_secs_f64();
        // The first one is all there is to go by, however long it took.
        let late = self.usual.is_some() && took >= self.late();
        if !late {
            let usual = self.usual.unwrap_or(seconds);
            self.usual = Some(usual + (seconds - usual) / 64.0);
        }
        self.stretch.all = self.stretch.all.saturating_add(1);
        self.stretch.late = self.stretch.late.saturating_add(u32::from(late));
        let since = *self.stretch.since.get_or_insert(now.at);
        if let Standing::Exhausted { since, .. } = self.standing {
            self.be_free();
            return Some(ThrottleEvent::QuotaAgain {
                after: now.at.saturating_duration_since(since.at),
            });
        }
        let length = now.at.saturating_duration_since(since);
        if length < STRETCH {
            return None;
        }
        let Stretch { all, late, .. } = std::mem::take(&mut self.stretch);
        self.rate = f64::from(all) / length.as_secs_f64();
        if late.saturating_mul(2) >= all {
            let usual = Duration::try_from_secs_f64(self.usual.unwrap_or_default());
            let sign = Sign::LatePubacks {
                bound: self.late(),
                usual: usual.unwrap_or_default(),
            };
            self.good = 0;
            return self.sign(sign, now);
        }
        self.good = self.good.saturating_add(1);
        self.end_if_over(now)
    }

    /// A connection is there.
    pub fn connected(&mut self) {
        self.confirmed = 0;
        self.stretch = Stretch::default();
    }

    /// A connection was lost, or did not come about; of the messages on it the oldest has waited for `waiting`.
    pub fn lost(
        &mut self,
        loss: Loss,
        waiting: Option<Duration>,
        now: Now,
    ) -> Option<ThrottleEvent> {
        self.stretch = Stretch::default();
        if let Standing::Exhausted {
            next_trial, wait, ..
        } = &mut self.standing
        {
            // Whoever ended the connection: the message for trial was not taken.
            let was_tried = match loss {
                Loss::ByHub | Loss::Refused => true,
                Loss::Network => waiting.is_some(),
                Loss::Planned => false,
            };
            if was_tried && now.at >= *next_trial {
                *wait = (*wait * 2).min(TRIAL.1);
                *next_trial = now.at + *wait;
            }
            return None;
        }
        let by_hub = match loss {
            Loss::ByHub => true,
            // It says 5 for every reason. Of a hub that was throttling it is one more refusal to take anything.
            Loss::Refused => self.fruitless.is_some() || !matches!(self.standing, Standing::Free),
            Loss::Network | Loss::Planned => false,
        };
        if !by_hub {
            return None;
        }
        // Without messages on it there was nothing to refuse.
        let fruitless = self.confirmed == 0 && (waiting.is_some() || loss == Loss::Refused);
        if fruitless && self.ever_confirmed {
            let (count, since) = self.fruitless.get_or_insert((0, now.at));
            *count += 1;
            if *count >= FRUITLESS && now.at.saturating_duration_since(*since) >= FRUITLESS_TIME {
                return Some(self.exhausted(now));
            }
        }
        self.ends
            .retain(|at| now.at.saturating_duration_since(*at) < SIGN);
        if self.ends.len() >= ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(now.at);
        let waited_long = waiting.is_some_and(|waiting| waiting >= self.late());
        if waited_long || self.ends.len() >= ENDS {
            return self.sign(Sign::EndedConnections, now);
        }
        None
    }

    /// A request other than a message (a twin request, say) was answered with 429.
    pub fn answered_429(&mut self, now: Now) -> Option<ThrottleEvent> {
        self.sign(Sign::Answered429, now)
    }

    /// To be called about once a second: states also end by time.
    pub fn tick(&mut self, now: Now) -> Option<ThrottleEvent> {
        match self.standing {
            Standing::Free => None,
            Standing::Throttled { .. } => self.end_if_over(now),
            Standing::Exhausted { since, over, .. } if now.at >= over => {
                self.be_free();
                Some(ThrottleEvent::QuotaAgain {
                    after: now.at.saturating_duration_since(since.at),
                })
            }
            Standing::Exhausted { .. } => None,
        }
    }

    fn sign(&mut self, sign: Sign, now: Now) -> Option<ThrottleEvent> {
        self.last_sign = Some(now.at);
        self.good = 0;
        if !matches!(self.standing, Standing::Free) {
            return None;
        }
        self.standing = Standing::Throttled { since: now };
        Some(ThrottleEvent::Throttled(sign))
    }

    fn end_if_over(&mut self, now: Now) -> Option<ThrottleEvent> {
        let Standing::Throttled { since } = self.standing else {
            return None;
        };
        let quiet = self
            .last_sign
            .is_none_or(|last| now.at.saturating_duration_since(last) >= SIGN);
        if self.good < GOOD_STRETCHES && !quiet {
            return None;
        }
        self.be_free();
        Some(ThrottleEvent::NoLongerThrottled {
            after: now.at.saturating_duration_since(since.at),
        })
    }

    fn exhausted(&mut self, now: Now) -> ThrottleEvent {
        let left = until_next_day(now.utc);
        let until = now.utc.checked_add(left).unwrap_or(now.utc);
        self.standing = Standing::Exhausted {
            since: now,
            over: now.at + left,
            until,
            next_trial: now.at + TRIAL.0,
            wait: TRIAL.0,
        };
        ThrottleEvent::QuotaExhausted { until }
    }

    fn be_free(&mut self) {
        self.standing = Standing::Free;
        self.good = 0;
        self.last_sign = None;
        self.fruitless = None;
        self.ends.clear();
        self.stretch = Stretch::default();
    }
}

/// To the next day in UTC. Before 1970 there are no days: then a whole one.
fn until_next_day(utc: SystemTime) -> Duration {
    let today = utc
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() % DAY);
    Duration::from_secs(DAY - today)
}

impl std::fmt::Display for ThrottleEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Throttled(Sign::LatePubacks { bound, usual }) => write!(
                f,
                "IoT Hub confirms late: {:.1} s and more where {:.3} s is usual; it throttles, or the line has become slow",
                bound.as_secs_f64(),
                usual.as_secs_f64()
            ),
            Self::Throttled(Sign::EndedConnections) => f.write_str(
                "IoT Hub ends connections while messages wait for confirmation; it throttles, or a second client has the same identity",
            ),
            Self::Throttled(Sign::Answered429) => f.write_str("IoT Hub answered 429: it throttles"),
            Self::NoLongerThrottled { after } => {
                write!(f, "IoT Hub confirms in time again, after {} s", after.as_secs())
            }
            Self::QuotaExhausted { .. } => f.write_str(
                "IoT Hub takes nothing any more: the quota of the day seems to be used up; it is tried again at times",
            ),
            Self::QuotaAgain { after } => {
                write!(f, "IoT Hub is used again after {} s", after.as_secs())
            }
        }
    }
}

#[cfg(test)]
mod tests;
