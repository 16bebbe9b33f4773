//! Which of the waiting events goes next.
//!
//! Two questions, one after the other. *Live or backlog?* Live first; while both wait, the backlog has a set share of what is sent, so that
//! it also ends where live data never pauses. Where live data has waited too long already, the share falls to a tenth. With nothing live
//! waiting, the backlog has everything; a rate, if one is set, bounds it always. *Which priority?* The highest, but the lower ones together have
//! a set share of what is sent while they wait, in turn. One that none of this ever reaches, as lines come and go, goes after a bounded time:
//! none starves.
//!
//! What waits must be what may go: whoever asks leaves out what the budget or a lost connection holds back.

use std::time::{Duration, Instant};

use super::priority::{Priorities, Priority};

/// Above this share of its own of a second, a rate lets nothing gather.
const BURST: f64 = 0.1;
/// What is left of the backlog's share where live data has waited too long.
const TENTH: u16 = 10;
const WHOLE: u16 = 100;

/// New, or from before the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Stored after the connection began.
    Live,
    /// Stored before.
    Backlog,
}

impl Lane {
    /// For metrics and status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backlog => "backlog",
        }
    }
}

/// One line in front of the sender. Within it, events go in the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// Live or backlog.
    pub lane: Lane,
    /// The priority.
    pub priority: Priority,
}

/// The lines in which something waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Live events.
    pub live: Priorities,
    /// The backlog.
    pub backlog: Priorities,
    /// Since when the oldest live event waits, if that is known.
    pub live_since: Option<Instant>,
}

impl Waiting {
    /// What is left when these priorities may not go.
    #[must_use]
    pub fn without(mut self, held: Priorities) -> Self {
        self.live = self.live.but_not(held);
        self.backlog = self.backlog.but_not(held);
        self
    }
}

/// Shares and bounds. Percentages above 100 count as 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Percent of what is sent that are backlog while both wait. 0: the backlog goes only while nothing live waits.
    pub backlog_share: u8,
    /// Events of the backlog per second at most.
    pub backlog_rate: Option<u32>,
    /// Live data that has waited longer cuts the backlog's share to a tenth.
    pub live_wait: Duration,
    /// Percent of what is sent that all priorities but the highest waiting one have together. 0: strictly by priority.
    pub lower_share: u8,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send the oldest event of this line; it is counted as sent.
    Send(Class),
    /// Only the rate of the backlog keeps it back, until then.
    WaitUntil(Instant),
    /// Nothing waits.
    Nothing,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Schedule {
    options: ScheduleOptions,
    /// Of the backlog, in hundredths of a message.
    credit: u16,
    live: Turns,
    backlog: Turns,
    /// When the next message of the backlog is due by its rate.
    due: Option<Instant>,
}

/// Whose turn it is among priorities.
#[derive(Debug, Clone)]
struct Turns {
    /// Of the lower ones together, in hundredths of a message.
    credit: u16,
    /// The lower one that went last.
    last: Priority,
    /// For how many turns each has waited now.
    waited: [usize; Priority::COUNT],
}

impl Turns {
    const NEW: Self = Self {
        credit: 0,
        last: Priority::LOWEST,
        waited: [0; Priority::COUNT],
    };

    fn next(&mut self, waiting: Priorities, lower_share: u16) -> Option<Priority> {
        let next = match self.overdue(waiting, lower_share) {
            None => self.by_share(waiting, lower_share)?,
            Some(overdue) => overdue,
        };
        for (priority, waited) in lowest_first().zip(&mut self.waited) {
            let waits_on = waiting.has(priority) && priority != next;
            *waited = if waits_on { *waited + 1 } else { 0 };
        }
        Some(next)
    }

    fn by_share(&mut self, waiting: Priorities, lower_share: u16) -> Option<Priority> {
        let highest = waiting.highest()?;
        let lower = waiting.without(highest);
        if lower.is_empty() {
            return Some(highest);
        }
        self.credit += lower_share;
        if self.credit < WHOLE {
            return Some(highest);
        }
        self.credit -= WHOLE;
        self.last = lower.next_below(self.last)?;
        Some(self.last)
    }

    /// The one that has waited longest, if that is longer than shares explain. One that is the highest whenever a lower one has its turn, and a lower
    /// one whenever the highest has, has no turn of either kind.
    fn overdue(&self, waiting: Priorities, lower_share: u16) -> Option<Priority> {
        if lower_share == 0 {
            return None;
        }
        let longest = Priority::COUNT * usize::from(WHOLE.div_ceil(lower_share));
        lowest_first()
            .zip(self.waited)
            .filter(|(priority, waited)| waiting.has(*priority) && *waited >= longest)
            .max_by_key(|(_, waited)| *waited)
            .map(|(priority, _)| priority)
    }
}

/// In the order of their numbers.
fn lowest_first() -> impl Iterator<Item = Priority> {
    Priority::descending().rev()
}

impl Schedule {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(options: ScheduleOptions) -> Self {
        Self {
            options,
            credit: 0,
            live: Turns::NEW,
            backlog: Turns::NEW,
            due: None,
        }
    }

    /// Other shares and bounds from now on.
    pub fn set(&mut self, options: ScheduleOptions) {
        self.options = options;
        self.due = None;
    }

    /// Who goes next. What it names is counted as sent.
    pub fn next(&mut self, waiting: Waiting, now: Instant) -> Next {
        let not_before = (!waiting.backlog.is_empty())
            .then(|| self.not_before(now))
            .flatten();
        let backlog = !waiting.backlog.is_empty() && not_before.is_none();
        let live = !waiting.live.is_empty();
        let lane = match (live, backlog) {
            (true, true) if self.is_turn_of_backlog(waiting.live_since, now) => Lane::Backlog,
            (true, _) => Lane::Live,
            (false, true) => Lane::Backlog,
            (false, false) => return not_before.map_or(Next::Nothing, Next::WaitUntil),
        };
        let lower_share = u16::from(self.options.lower_share).min(WHOLE);
        let priority = match lane {
            Lane::Live => self.live.next(waiting.live, lower_share),
            Lane::Backlog => {
                self.spend(now);
                self.backlog.next(waiting.backlog, lower_share)
            }
        };
        priority.map_or(Next::Nothing, |priority| {
            Next::Send(Class { lane, priority })
        })
    }

    fn is_turn_of_backlog(&mut self, live_since: Option<Instant>, now: Instant) -> bool {
        let share = u16::from(self.options.backlog_share).min(WHOLE);
        let too_long = live_since
            .is_some_and(|since| now.saturating_duration_since(since) > self.options.live_wait);
        self.credit += if too_long {
            share.div_ceil(TENTH)
        } else {
            share
        };
        if self.credit < WHOLE {
            return false;
        }
        self.credit -= WHOLE;
        true
    }

    /// When the rate lets the backlog go on, if it does not now.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        self.options.backlog_rate?;
        let at = self.due?.checked_sub(Duration::from_secs_f64(BURST))?;
        (at > now).then_some(at)
    }

    fn spend(&mut self, now: Instant) {
        if let Some(rate) = self.options.backlog_rate {
            let gap = Duration::from_secs(1) / rate.max(1);
            self.due = Some(self.due.map_or(now, |due| due.max(now)) + gap);
        }
    }
}

#[cfg(test)]
mod tests;
