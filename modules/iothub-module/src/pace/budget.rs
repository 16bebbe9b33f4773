//! Bytes for lines that are paid by volume: so many in any minute, so many in a calendar month (UTC).
//!
//! # What is counted
//! [`message_bytes`]: topic (in which the properties travel), payload, and an estimate of what carries them: 9 bytes of MQTT, 29 of TLS, 40 of
//! TCP and IP for each started 1,400 bytes, and 66 for the PUBACK that comes back. [`CONNECTION_BYTES`] for each new connection. Messages that are
//! sent again count again. Several messages may share a packet, so the estimate is rather too high; keep-alives, twins, methods and
//! cloud-to-device messages are not counted, and neither is what other programs use of the same line.
//!
//! # The minute
//! In no 60 seconds is more spent than the bound; time is cut into seconds for that. A message that is larger than the bound goes when nothing
//! was spent in the last minute, or when it has waited for one, and then nothing more goes until it is paid off.
//!
//! # The month
//! The counter outlives restarts: [`Budget::to_save`] says when to store it and gives a figure that is ahead of what was spent, so that a
//! crash never makes it smaller. Clocks jump, so:
//!
//! * A clock before 2025 is not set yet: the month that was known before goes on. What was spent meanwhile counts in the month that comes.
//! * A later month is a new one.
//! * An earlier month may be a clock that is about to be set: the later one goes on. After 24 hours of it (by the clock that never jumps) the
//!   later one was the mistake, and what was spent in it counts in the earlier one.
//!
//! # What goes when it is used up
//! Nothing, or only urgent events, as is configured. A part can be kept for urgent ones.

mod minute;
mod month;

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::priority::Priority;
use super::throttle::Now;
use minute::Minute;

pub use month::{Month, NotAMonth};

/// TCP, TLS with the server's certificates, CONNECT and the subscriptions, both ways.
pub const CONNECTION_BYTES: u64 = 8 * 1024;

const MQTT: u64 = 9;
const TLS: u64 = 29;
const TCP_IP: u64 = 40;
const SEGMENT: u64 = 1400;
const PUBACK: u64 = 66;

/// Where the clock may be set meanwhile, it is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long a clock must have shown an earlier month to be believed.
const EARLIER_FOR: Duration = Duration::from_secs(24 * 3600);
/// The stored figure is so much ahead: a thousandth of the month's bound, and at least this.
const AHEAD: u64 = 64 * 1024;
/// A bound of the minute that has kept nothing back for so long is not in effect any more.
const MINUTE_IS_OVER: Duration = Duration::from_secs(300);

/// Bytes on the line for a message, both ways; see the module's documentation.
#[must_use]
pub fn message_bytes(topic: usize, payload: usize) -> u64 {
    let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let sent = length(topic)
        .saturating_add(length(payload))
        .saturating_add(MQTT + TLS);
    sent.saturating_add(sent.div_ceil(SEGMENT) * TCP_IP)
        .saturating_add(PUBACK)
}

/// Bounds, and who may pass them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetOptions {
    /// Bytes in any 60 seconds.
    pub per_minute: Option<u64>,
    /// Bytes in a calendar month, UTC.
    pub per_month: Option<u64>,
    /// Events of this priority and above are urgent.
    pub urgent_from: Option<Priority>,
    /// Percent of both bounds that only urgent events may use; above 100 counts as 100.
    pub urgent_reserve: u8,
    /// Urgent events go beyond both bounds.
    pub urgent_beyond: bool,
}

impl BudgetOptions {
    /// The most bytes of topic and payload that what is not urgent may use of a minute in one message.
    #[must_use]
    pub fn largest_message(&self) -> Option<usize> {
        let share = self.share(self.per_minute?, false);
        let segments = share.saturating_sub(PUBACK + TCP_IP);
        let sent = (u128::from(segments) * u128::from(SEGMENT)) / u128::from(SEGMENT + TCP_IP);
        let content = usize::try_from(sent).unwrap_or(usize::MAX);
        Some(content.saturating_sub((MQTT + TLS) as usize))
    }

    fn share(&self, bound: u64, urgent: bool) -> u64 {
        if urgent || self.urgent_from.is_none() {
            return bound;
        }
        let kept = u64::from(self.urgent_reserve.min(100));
        bound - (bound / 100 * kept + bound % 100 * kept / 100)
    }
}

/// Whether a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// Not now.
    Wait {
        /// Ask again then, not earlier.
        until: Instant,
        /// What keeps it back.
        bound: Bound,
    },
}

/// One of the two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Of any 60 seconds.
    Minute,
    /// Of the calendar month.
    Month,
}

impl Bound {
    /// For status and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Month => "month",
        }
    }
}

/// A bound begins or ceases to hold something back: worth one line in the log each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetEvent {
    /// The bound keeps messages back from now on.
    UsedUp(Bound),
    /// No longer.
    FreeAgain(Bound),
}

/// Where the budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetState {
    /// Bytes of the last 60 seconds, and the bound.
    pub minute: (u64, Option<u64>),
    /// Bytes of the month, and the bound.
    pub month: (u64, Option<u64>),
    /// The month that is counted, if it is known.
    pub counted: Option<Month>,
    /// What keeps messages back.
    pub holds: Option<Bound>,
}

/// The month's counter as it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The month; none if the clock was never set.
    pub month: Option<Month>,
    /// Bytes.
    pub bytes: u64,
    /// The month before, in case that this one turns out to be a clock's mistake.
    #[serde(default)]
    pub before: Option<(Month, u64)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Budget {
    options: BudgetOptions,
    minute: Minute,
    month: Option<Month>,
    before: Option<(Month, u64)>,
    spent: u64,
    /// Of `spent`, what was spent while the clock was not set.
    undated: u64,
    /// The clock shows an earlier month: since when, and which.
    earlier: Option<(Instant, Month)>,
    /// What is stored covers so much of `spent`.
    covered: u64,
    held: Held,
    /// What the last event told.
    told: Option<Bound>,
}

/// Since when, and until when at least, bounds keep something back.
#[derive(Debug, Default)]
struct Held {
    minute: Option<Instant>,
    month: bool,
}

impl Budget {
    /// Goes on from what was stored.
    #[must_use]
    pub fn new(options: BudgetOptions, saved: Saved, now: Now) -> Self {
        let mut budget = Self {
            options,
            minute: Minute::new(now.at),
            month: saved.month,
            before: saved.before,
            spent: saved.bytes,
            undated: 0,
            earlier: None,
            covered: saved.bytes,
            held: Held::default(),
            told: None,
        };
        budget.turn(now);
        budget
    }

    /// Other bounds from now on; what was spent stays spent.
    pub fn set(&mut self, options: BudgetOptions) {
        self.options = options;
    }

    /// Whether a message of `bytes` may go. It is not counted before [`Budget::spend`].
    pub fn admit(&mut self, priority: Priority, bytes: u64, now: Now) -> Admission {
        self.turn(now);
        let urgent = self
            .options
            .urgent_from
            .is_some_and(|from| priority >= from);
        if urgent && self.options.urgent_beyond {
            return Admission::Go;
        }
        if let Some(bound) = self.options.per_month
            && self.spent.saturating_add(bytes) > self.options.share(bound, urgent)
        {
            self.held.month = true;
            return Admission::Wait {
                until: now.at + self.until_month_ends(now),
                bound: Bound::Month,
            };
        }
        if let Some(bound) = self.options.per_minute
            && let Some(until) = self
                .minute
                .wait(bytes, self.options.share(bound, urgent), now.at)
        {
            self.held.minute = Some(now.at);
            return Admission::Wait {
                until,
                bound: Bound::Minute,
            };
        }
        Admission::Go
    }

    /// `bytes` went out.
    pub fn spend(&mut self, bytes: u64, now: Now) {
        self.turn(now);
        self.spent = self.spent.saturating_add(bytes);
        if Month::of(now.utc).is_none() {
            self.undated = self.undated.saturating_add(bytes);
        }
        self.minute.spend(bytes, self.options.per_minute, now.at);
    }

    /// Whether the stored figure covers `bytes` more. Until it does, they must not be spent, or a crash would make the figure smaller.
    #[must_use]
    pub fn is_covered(&self, bytes: u64) -> bool {
        self.options.per_month.is_none() || self.spent.saturating_add(bytes) <= self.covered
    }

    /// The figure to store, when it is time to: at the first bytes, in a new month, when half of what the stored figure was ahead is used, and
    /// when it does not cover the `next` bytes. Store it whole (a new file in place of the old one), then tell [`Budget::saved`].
    #[must_use]
    pub fn to_save(&self, next: u64) -> Option<Saved> {
        // Without a bound nobody would look at it.
        self.options.per_month?;
        let wanted = next.max(self.ahead() / 2);
        (self.spent.saturating_add(wanted) > self.covered).then(|| Saved {
            bytes: self.spent.saturating_add(self.ahead().max(next)),
            ..self.exact()
        })
    }

    /// The figure as it is, for an orderly end.
    #[must_use]
    pub fn exact(&self) -> Saved {
        Saved {
            month: self.month,
            bytes: self.spent,
            before: self.before,
        }
    }

    /// `saved` is stored.
    pub fn saved(&mut self, saved: &Saved) {
        if saved.month == self.month {
            self.covered = saved.bytes;
        }
    }

    /// Where the budget stands.
    pub fn state(&mut self, now: Now) -> BudgetState {
        self.turn(now);
        BudgetState {
            minute: (self.minute.spent(now.at), self.options.per_minute),
            month: (self.spent, self.options.per_month),
            counted: self.month,
            holds: if self.held.month {
                Some(Bound::Month)
            } else {
                self.held.minute.map(|_| Bound::Minute)
            },
        }
    }

    /// To be called about once a second: what began or ended since, for the log.
    pub fn tick(&mut self, now: Now) -> Option<BudgetEvent> {
        self.turn(now);
        if self
            .held
            .minute
            .is_some_and(|last| now.at.saturating_duration_since(last) >= MINUTE_IS_OVER)
        {
            self.held.minute = None;
        }
        let holds = self.state(now).holds;
        let before = std::mem::replace(&mut self.told, holds);
        match (before, holds) {
            (before, holds) if before == holds => None,
            (_, Some(bound)) => Some(BudgetEvent::UsedUp(bound)),
            (Some(bound), None) => Some(BudgetEvent::FreeAgain(bound)),
            (None, None) => None,
        }
    }

    fn ahead(&self) -> u64 {
        AHEAD.max(self.options.per_month.unwrap_or_default() / 1000)
    }

    /// Looks at the calendar.
    fn turn(&mut self, now: Now) {
        let Some(today) = Month::of(now.utc) else {
            self.earlier = None;
            return;
        };
        match self.month {
            Some(month) if today < month => {
                let since = match self.earlier {
                    Some((since, seen)) if seen == today => since,
                    _ => now.at,
                };
                self.earlier = Some((since, today));
                if now.at.saturating_duration_since(since) >= EARLIER_FOR {
                    let before = self.before.filter(|(month, _)| *month == today);
                    self.spent = self
                        .spent
                        .saturating_add(before.map_or(0, |(_, bytes)| bytes));
                    self.before = None;
                    self.begin(today);
                }
            }
            Some(month) if today == month => {
                self.earlier = None;
                self.undated = 0;
            }
            month => {
                self.before = month.map(|month| (month, self.spent.saturating_sub(self.undated)));
                self.spent = if month.is_some() {
                    self.undated
                } else {
                    self.spent
                };
                self.begin(today);
            }
        }
    }

    fn begin(&mut self, month: Month) {
        self.month = Some(month);
        self.undated = 0;
        self.earlier = None;
        self.covered = 0;
        self.held.month = false;
    }

    fn until_month_ends(&self, now: Now) -> Duration {
        let end = match Month::of(now.utc) {
            Some(_) => self.month.and_then(Month::end),
            None => None,
        };
        let left = end.and_then(|end| end.duration_since(now.utc).ok());
        left.unwrap_or(LOOK_AGAIN)
            .clamp(Duration::from_secs(1), LOOK_AGAIN)
    }
}

impl fmt::Display for BudgetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsedUp(Bound::Minute) => f.write_str(
                "the byte budget of the minute holds messages back; what does not get through waits in the queue",
            ),
            Self::UsedUp(Bound::Month) => f.write_str(
                "the byte budget of the month is used up; what is not urgent waits in the queue for the next month, or for a larger sending.budget.per_month",
            ),
            Self::FreeAgain(bound) => {
                write!(f, "the byte budget of the {} holds nothing back any more", bound.word())
            }
        }
    }
}

#[cfg(test)]
mod tests;
