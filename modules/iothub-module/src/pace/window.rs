//! How many messages may wait for their PUBACK at a time.
//!
//! A window that is too small leaves the line idle: throughput is window / round-trip time. One that is too large only makes a queue in front
//! of the slowest place, where everything waits longer and live data waits behind the backlog. So the window follows the PUBACKs.
//!
//! Time is cut into *rounds*: a round ends when enough of the messages that were sent in it were confirmed, so every decision sees the
//! effect of the one before. Of each round two figures count: the *tail* (95th percentile of the time from sending to PUBACK) and the *fast
//! tenth* (10th percentile). A queue of our own making delays every message and so shows in both; jitter and a lost segment show in the tail
//! alone. The least of each over the last half minute is the *base*: the line without a queue.
//!
//! | the round's PUBACKs | the window |
//! |---|---|
//! | flat: tail not doubled, fast tenth near its base | grows: doubles at the start, later by its square root |
//! | fast tenth above its base by more than 15 % and 5 ms | steers to what fills the line and that little queue |
//! | tail doubled, fast tenth raised, too | halves |
//! | tail doubled, fast tenth as before | stays: jitter, a loss, a pause |
//! | doubled still, and halving twice did not help | the line itself has become slower: this is the new base |
//! | not the window was the limit, but too few messages | does not grow |
//!
//! A lost connection halves it, too. Steering in proportion to base / measured and growing by the square root gives one stable point whatever
//! the round-trip time is (the idea of gradient limiters); comparing with a base that was measured, instead of waiting for losses, is TCP Vegas'
//! and LEDBAT's; and as in BBR the base is measured anew at times with a window that cannot make a queue, or a standing queue would in the end
//! be taken for the line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where a new window starts.
const START: f64 = 16.0;
/// Delay that nobody minds: a queue that short is no reason to leave the line idle, and schedulers are no more exact.
const SLACK: f64 = 0.005;
/// Allowed rise of the fast tenth above its base.
const RISE: f64 = 1.15;
/// A halving that leaves so much of the delay has not helped.
const NO_HELP: f64 = 0.75;
/// PUBACKs to judge a round by.
const SAMPLES: (usize, usize) = (8, 128);
/// The base is the least of so many stretches of so long.
const STRETCHES: usize = 3;
const STRETCH: f64 = 10.0;

/// Least and most messages in flight; both at least 1, and `least` not above `most`: see [`Window::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBounds {
    /// Never fewer.
    pub least: u16,
    /// Never more.
    pub most: u16,
}

/// A message on its way, as the window knows it. Given back with its PUBACK or when it failed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message that is not given back keeps its place in the window"]
pub struct Sent {
    connection: u64,
    turn: u64,
    at: Instant,
}

impl Sent {
    /// Counts up with each message, over all connections.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// When it was sent.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// What a finished round says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// 10th percentile of the time from sending to PUBACK.
    pub fast: Duration,
    /// 95th percentile.
    pub tail: Duration,
    /// The window from now on.
    pub window: usize,
}

/// See the module's documentation. All methods take constant time, but for the end of a round, which sorts at most 128 numbers.
#[derive(Debug)]
pub struct Window {
    least: f64,
    most: f64,
    size: f64,
    in_flight: usize,
    connection: u64,
    next_turn: u64,
    /// Something was confirmed on this connection, or is in flight: its loss tells something.
    used: bool,
    /// Doubles as long as nothing speaks against it.
    starting: bool,
    samples: Samples,
    base: Base,
    halved: Option<Halved>,
    /// The base is being measured; the window that it goes back to.
    measuring: Option<f64>,
}

#[derive(Debug)]
struct Samples {
    /// Messages sent before belong to an earlier round.
    from: u64,
    seconds: Vec<f64>,
    since: Option<Instant>,
    /// The window was full in this round: more messages would have been sent.
    limited: bool,
}

#[derive(Debug, Clone, Copy)]
struct Halved {
    fast: f64,
    in_vain: u8,
}

impl Window {
    /// A window within `bounds` (0 counts as 1, `least` above `most` as `most`), starting at 16 or the nearest that the bounds allow.
    #[must_use]
    pub fn new(bounds: WindowBounds) -> Self {
        let most = f64::from(bounds.most.max(1));
        let least = f64::from(bounds.least.max(1)).min(most);
        Self {
            least,
            most,
            size: START.clamp(least, most),
            in_flight: 0,
            connection: 0,
            next_turn: 0,
            used: false,
            starting: true,
            samples: Samples {
                from: 0,
                seconds: Vec::with_capacity(SAMPLES.1),
                since: None,
                limited: false,
            },
            base: Base::default(),
            halved: None,
            measuring: None,
        }
    }

    /// Messages that may be in flight.
    #[must_use]
    pub fn size(&self) -> usize {
        // Between 1 and 65535 by construction.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let size = self.size as usize;
        size.max(1)
    }

    /// Messages that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.size()
    }

    /// The base: 95th percentile of the line without a queue, as far as it is known.
    #[must_use]
    pub fn base(&self) -> Option<Duration> {
        self.base.least().map(|base| duration(base.tail))
    }

    /// A message goes out.
    pub fn sent(&mut self, now: Instant) -> Sent {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.in_flight += 1;
        self.used = true;
        self.samples.limited |= self.in_flight >= self.size();
        self.samples.since.get_or_insert(now);
        Sent {
            connection: self.connection,
            turn,
            at: now,
        }
    }

    /// Its PUBACK came. At the end of a round, what the round said. Messages of an earlier connection change nothing.
    pub fn acknowledged(&mut self, sent: &Sent, now: Instant) -> Option<Round> {
        if sent.connection != self.connection {
            return None;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        if sent.turn < self.samples.from {
            return None;
        }
        let took = now.saturating_duration_since(sent.at).as_secs_f64();
        if self.samples.seconds.len() < SAMPLES.1 {
            self.samples.seconds.push(took);
        }
        self.is_round(now).then(|| self.end_round(now))
    }

    /// The connection ended. Unless that was `planned`, the window halves, once per connection that was used; the next one may take another way,
    /// so its base is measured anew.
    pub fn ended(&mut self, planned: bool) {
        if let Some(before) = self.measuring.take() {
            self.size = before;
        }
        if !planned && self.used {
            self.size = (self.size / 2.0).max(self.least);
            self.starting = true;
            self.base = Base::default();
        }
        self.connection += 1;
        self.in_flight = 0;
        self.used = false;
        self.halved = None;
        self.next_round();
    }

    fn is_round(&self, now: Instant) -> bool {
        let samples = self.samples.seconds.len();
        if samples >= self.size().clamp(SAMPLES.0, SAMPLES.1) {
            return true;
        }
        // With little to send a full set would take too long to see that the line has changed.
        let patience = self
            .base
            .least()
            .map_or(1.0, |base| (4.0 * base.tail).max(1.0));
        samples >= SAMPLES.0
            && self
                .samples
                .since
                .is_some_and(|since| now.saturating_duration_since(since).as_secs_f64() >= patience)
    }

    fn end_round(&mut self, now: Instant) -> Round {
        let seconds = &mut self.samples.seconds;
        seconds.sort_unstable_by(f64::total_cmp);
        let figures = Figures {
            fast: quantile(seconds, 0.10),
            tail: quantile(seconds, 0.95),
        };
        let stale = self.base.observe(figures, now);
        if let Some(before) = self.measuring.take() {
            self.size = before;
            self.base.forget_oldest();
        } else if stale && self.samples.limited && self.size > self.least {
            self.measure(figures);
        } else {
            self.decide(figures);
        }
        self.size = self.size.clamp(self.least, self.most);
        self.next_round();
        Round {
            fast: duration(figures.fast),
            tail: duration(figures.tail),
            window: self.size(),
        }
    }

    fn decide(&mut self, now: Figures) {
        let base = self.base.least().unwrap_or(now);
        let allowed = (base.fast * RISE).max(base.fast + SLACK);
        let raised = now.fast > allowed;
        let doubled = now.tail >= (2.0 * base.tail).max(base.tail + 2.0 * SLACK);
        if raised && doubled {
            self.halve(now);
            return;
        }
        self.halved = None;
        if raised {
            // What the line holds is size * base / measured; a little more keeps it full.
            self.starting = false;
            self.size = self.size * allowed / now.fast + (self.size.sqrt() / 2.0).max(1.0);
        } else if !doubled && self.samples.limited {
            // The nearer to what is allowed, the smaller the step: down to where steering would leave it.
            let left = (allowed - now.fast) / (allowed - base.fast).max(f64::MIN_POSITIVE);
            let step = self.size.sqrt() * left.clamp(0.5, 1.0);
            self.size += if self.starting {
                self.size
            } else {
                step.max(1.0)
            };
        }
    }

    fn halve(&mut self, now: Figures) {
        self.starting = false;
        let in_vain = match self.halved {
            Some(before) if now.fast >= NO_HELP * before.fast => before.in_vain + 1,
            _ => 0,
        };
        if in_vain >= 2 {
            // A queue of ours would have become shorter.
            self.base = Base::default();
            self.halved = None;
            self.starting = true;
            return;
        }
        self.halved = Some(Halved {
            fast: now.fast,
            in_vain,
        });
        self.size /= 2.0;
    }

    /// A window that cannot make a queue, for one round.
    fn measure(&mut self, now: Figures) {
        let base = self.base.least().unwrap_or(now);
        self.measuring = Some(self.size);
        self.size = (self.size * 0.75 * (base.fast / now.fast).min(1.0)).max(self.least);
    }

    fn next_round(&mut self) {
        self.samples.from = self.next_turn;
        self.samples.seconds.clear();
        self.samples.since = None;
        self.samples.limited = self.in_flight >= self.size();
    }
}

/// Of a round, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    fast: f64,
    tail: f64,
}

impl Figures {
    fn least(self, other: Self) -> Self {
        Self {
            fast: self.fast.min(other.fast),
            tail: self.tail.min(other.tail),
        }
    }
}

/// The least figures of the last stretches of time.
#[derive(Debug, Default)]
struct Base {
    stretches: VecDeque<(Instant, Figures)>,
}

impl Base {
    fn least(&self) -> Option<Figures> {
        self.stretches
            .iter()
            .map(|(_, figures)| *figures)
            .reduce(Figures::least)
    }

    /// Takes a round in. Whether the least figures are about to be forgotten with nothing like them seen since.
    fn observe(&mut self, figures: Figures, now: Instant) -> bool {
        let length = self
            .least()
            .map_or(STRETCH, |base| STRETCH.max(20.0 * base.tail));
        match self.stretches.back_mut() {
            Some((since, least))
                if now.saturating_duration_since(*since).as_secs_f64() < length =>
            {
                *least = least.least(figures);
            }
            _ => self.stretches.push_back((now, figures)),
        }
        if self.stretches.len() <= STRETCHES {
            return false;
        }
        let since = self
            .stretches
            .iter()
            .skip(1)
            .map(|(_, figures)| figures.fast);
        let since = since.fold(f64::INFINITY, f64::min);
        let oldest = self
            .stretches
            .front()
            .map_or(0.0, |(_, figures)| figures.fast);
        if since > (oldest * 1.05).max(oldest + 0.4 * SLACK)
            && self.stretches.len() == STRETCHES + 1
        {
            return true;
        }
        self.forget_oldest();
        false
    }

    fn forget_oldest(&mut self) {
        if self.stretches.len() > STRETCHES {
            self.stretches.pop_front();
        }
    }
}

/// Of sorted numbers, the one below which lies the share `share`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 128 numbers"
    )]
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
