//! When each stream (device and group) is polled: a fixed grid for each, the earliest deadline first on the link.

use std::time::Duration;

use tokio::time::Instant;

/// The streams of one link. No timers in here: the link asks and waits.
#[derive(Debug)]
pub struct Schedule {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    period: Duration,
    /// The next grid point that was not released yet: start + n × period.
    next: Instant,
    /// The grid point whose cycle runs.
    running: Option<Instant>,
}

/// A cycle that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Which stream.
    pub stream: usize,
    /// Grid points before this one that passed without a cycle: overruns.
    pub skipped: u64,
}

/// Where nothing is due: look again then.
const IDLE: Duration = Duration::from_secs(3600);

impl Schedule {
    /// All grids begin at `start`. Periods are longer than zero.
    pub fn new(start: Instant, periods: impl IntoIterator<Item = Duration>) -> Self {
        let slots = periods
            .into_iter()
            .map(|period| Slot {
                period: period.max(Duration::from_millis(1)),
                next: start,
                running: None,
            })
            .collect();
        Self { slots }
    }

    /// Appends the cycles that begin by `now`. A stream whose cycle still runs is not released again before
    /// [`Schedule::finish`]; of the grid points it missed meanwhile only the latest gets a cycle.
    pub fn release(&mut self, now: Instant, released: &mut Vec<Released>) {
        for (stream, slot) in self.slots.iter_mut().enumerate() {
            if slot.running.is_some() || slot.next > now {
                continue;
            }
            let late = now.duration_since(slot.next).as_nanos();
            let skipped = u64::try_from(late / slot.period.as_nanos()).unwrap_or(0);
            let due = slot.next + nanoseconds(slot.period, skipped);
            slot.running = Some(due);
            slot.next = due + slot.period;
            released.push(Released { stream, skipped });
        }
    }

    /// Of the running streams that `may` go on, the one with the earliest deadline (the end of its period).
    pub fn earliest(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        self.running()
            .filter(|(stream, _)| may(*stream))
            .min_by_key(|(stream, deadline)| (*deadline, *stream))
            .map(|(stream, _)| stream)
    }

    /// The grid point of a running stream.
    pub fn due(&self, stream: usize) -> Option<Instant> {
        self.slots.get(stream).and_then(|slot| slot.running)
    }

    /// The running streams and their deadlines.
    pub fn running(&self) -> impl Iterator<Item = (usize, Instant)> {
        self.slots.iter().enumerate().filter_map(|(stream, slot)| {
            let due = slot.running?;
            Some((stream, due + slot.period))
        })
    }

    /// When the next idle stream begins; in an hour if there is none.
    pub fn next_due(&self, now: Instant) -> Instant {
        self.slots
            .iter()
            .filter(|slot| slot.running.is_none())
            .map(|slot| slot.next)
            .min()
            .unwrap_or(now + IDLE)
    }

    /// A stream's cycle ended.
    pub fn finish(&mut self, stream: usize) {
        if let Some(slot) = self.slots.get_mut(stream) {
            slot.running = None;
        }
    }
}

fn nanoseconds(period: Duration, times: u64) -> Duration {
    let total = period.as_nanos() * u128::from(times);
    Duration::from_nanos(u64::try_from(total).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn released(schedule: &mut Schedule, now: Instant) -> Vec<(usize, u64)> {
        let mut list = Vec::new();
        schedule.release(now, &mut list);
        list.iter().map(|one| (one.stream, one.skipped)).collect()
    }

    #[tokio::test]
    async fn cycles_stay_on_the_grid() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, [ms(100)]);
        assert_eq!(released(&mut schedule, start), [(0, 0)]);
        schedule.finish(0);
        assert_eq!(schedule.next_due(start), start + ms(100));
        // 30 ms late: the next one is on the grid again.
        assert_eq!(released(&mut schedule, start + ms(130)), [(0, 0)]);
        assert_eq!(schedule.due(0), Some(start + ms(100)));
        schedule.finish(0);
        assert_eq!(schedule.next_due(start), start + ms(200));
    }

    #[tokio::test]
    async fn missed_grid_points_are_counted() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, [ms(100)]);
        assert_eq!(released(&mut schedule, start), [(0, 0)]);
        assert_eq!(released(&mut schedule, start + ms(350)), []);
        schedule.finish(0);
        assert_eq!(released(&mut schedule, start + ms(350)), [(0, 2)]);
        assert_eq!(schedule.due(0), Some(start + ms(300)));
    }

    /// telegraf#13659: a fast group beside a slow one with many requests on the same line.
    #[tokio::test]
    async fn the_fast_group_goes_first_and_the_slow_one_is_not_starved() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, [ms(1000), ms(100)]);
        released(&mut schedule, start);
        assert_eq!(schedule.earliest(|_| true), Some(1));
        assert_eq!(schedule.earliest(|stream| stream != 1), Some(0));
        schedule.finish(1);
        assert_eq!(schedule.earliest(|_| true), Some(0));
        released(&mut schedule, start + ms(100));
        assert_eq!(schedule.earliest(|_| true), Some(1));
        // Overloaded: once its deadline is near, the slow one is next.
        schedule.finish(1);
        released(&mut schedule, start + ms(950));
        assert_eq!(schedule.earliest(|_| true), Some(0));
    }

    proptest! {
        #[test]
        fn every_grid_point_is_run_or_counted(
            period in 1u64..500,
            steps in proptest::collection::vec((0u64..1000, any::<bool>()), 1..50),
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new(start, [ms(period)]);
            let (mut now, mut seen) = (start, 0);
            for (wait, finish) in steps {
                now += ms(wait);
                for (_, skipped) in released(&mut schedule, now) {
                    seen += 1 + skipped;
                    let due = schedule.due(0).unwrap();
                    prop_assert!(due <= now && now < due + ms(period));
                    prop_assert_eq!(due, start + ms(period * (seen - 1)));
                }
                if finish {
                    schedule.finish(0);
                }
            }
        }
    }
}
