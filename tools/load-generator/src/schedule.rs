//! When which event is due; no I/O. Times are since the start.

use std::collections::VecDeque;
use std::time::Duration;

const SECOND: u128 = 1_000_000_000;

/// Events `first`, `first + 1`, … at one rate, the first of them one interval after `at`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: u64,
    at: Duration,
    rate: u32,
}

/// The number of events that are due, and the time of each, through changes of the rate.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Ascending; never empty. All but the last are kept for the events of theirs that are late.
    pieces: VecDeque<Piece>,
    limit: u64,
}

impl Schedule {
    pub(crate) fn new(rate: u32, limit: Option<u64>) -> Self {
        let at = Duration::ZERO;
        Self {
            pieces: VecDeque::from([Piece { first: 0, at, rate }]),
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    /// How many events have been due until `now`.
    pub(crate) fn due(&self, now: Duration) -> u64 {
        let Some(piece) = self.pieces.back() else {
            return 0;
        };
        let elapsed = now.saturating_sub(piece.at).as_nanos();
        let more = elapsed * u128::from(piece.rate) / SECOND;
        piece
            .first
            .saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
            .min(self.limit)
    }

    /// Another rate and limit from `now` on. What has been due stays due.
    pub(crate) fn change(&mut self, now: Duration, rate: u32, limit: Option<u64>) {
        let first = self.due(now);
        self.pieces.push_back(Piece {
            first,
            at: now,
            rate,
        });
        self.limit = limit.unwrap_or(u64::MAX).max(first);
    }

    /// The time of an event. Ask in ascending order: what is needed for earlier ones is forgotten.
    pub(crate) fn time_of(&mut self, number: u64) -> Duration {
        while self.pieces.len() > 1 && self.pieces.get(1).is_some_and(|next| next.first <= number) {
            self.pieces.pop_front();
        }
        let Some(piece) = self.pieces.front() else {
            return Duration::ZERO;
        };
        let count = u128::from(number.saturating_sub(piece.first)) + 1;
        let nanoseconds = (count * SECOND).div_ceil(u128::from(piece.rate.max(1)));
        piece.at + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn what_was_due_stays_due_through_changes() {
        let mut schedule = Schedule::new(1000, None);
        assert_eq!(schedule.due(milliseconds(0)), 0);
        assert_eq!(schedule.due(milliseconds(250)), 250);
        schedule.change(milliseconds(250), 0, None);
        assert_eq!(schedule.due(milliseconds(9000)), 250);
        schedule.change(milliseconds(9000), 10, None);
        assert_eq!(schedule.due(milliseconds(9500)), 255);
        assert_eq!(schedule.time_of(249), milliseconds(250));
        assert_eq!(schedule.time_of(250), milliseconds(9100));
    }

    #[test]
    fn a_limit_that_goes_leaves_no_jump() {
        let mut schedule = Schedule::new(1000, Some(100));
        assert_eq!(schedule.due(milliseconds(5000)), 100);
        schedule.change(milliseconds(5000), 1000, None);
        assert_eq!(schedule.due(milliseconds(5010)), 110);
        // A limit below what has been due takes nothing back.
        schedule.change(milliseconds(5010), 1000, Some(3));
        assert_eq!(schedule.due(milliseconds(6000)), 110);
    }

    proptest! {
        /// The time of an event is when it becomes due, never later than that and never before the one before it.
        #[test]
        fn times_are_when_events_become_due(changes in proptest::collection::vec((1_u64..400, 0_u32..5000), 1..12)) {
            let mut schedule = Schedule::new(1000, None);
            let (mut now, mut next, mut last) = (Duration::ZERO, 0, Duration::ZERO);
            for (wait, rate) in changes {
                let before = now;
                now += milliseconds(wait);
                let due = schedule.due(now);
                // Some are left for the time after the change.
                while next + 5 < due {
                    let at = schedule.time_of(next);
                    prop_assert!(at >= last && at <= now, "{next}: {last:?} {at:?} {before:?} {now:?}");
                    (last, next) = (at, next + 1);
                }
                schedule.change(now, rate, None);
                prop_assert_eq!(schedule.due(now), due);
            }
        }
    }
}
