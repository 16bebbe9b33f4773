//! How old an item is, by a clock that no jump of the machine's clock moves.
//!
//! The queue has a time of its own, in milliseconds. While the machine runs it goes on with the system's clock since boot,
//! whether the queue is open or not. Over a restart of the machine that clock starts at zero: then the wall clock counts,
//! but only if somebody who can tell has said on both sides that it is right. Otherwise the time in between does not count,
//! and items live longer rather than shorter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the clocks of a machine say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, which may jump.
    pub wall: SystemTime,
    /// Since the machine was started, sleep included. Goes only forward.
    pub since_boot: Duration,
    /// Names the start of the machine: another one after each start. Empty: not known, which counts as another one.
    pub boot: String,
}

/// Where the time comes from.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Reads all clocks at the same moment.
    fn read(&self) -> Reading;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: String,
}

impl SystemClock {
    /// Reads the name of this start of the machine.
    #[must_use]
    pub fn new() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot: boot.trim().to_owned(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        // It is there since Linux 2.6.39; without it nothing ages.
        let since_boot = nix::time::ClockId::CLOCK_BOOTTIME
            .now()
            .map(Duration::from)
            .unwrap_or_default();
        Reading {
            wall: SystemTime::now(),
            since_boot,
            boot: self.boot.clone(),
        }
    }
}

/// What a moment is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Microseconds since 1970 by the wall clock.
    pub(crate) wall: i64,
    /// Milliseconds of the queue's time.
    pub(crate) queue: i64,
}

/// A moment by all clocks, kept in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Milliseconds of the queue's time.
    pub(crate) queue: i64,
    pub(crate) boot: String,
    /// Milliseconds.
    pub(crate) since_boot: i64,
    /// Milliseconds since 1970.
    pub(crate) wall: Option<i64>,
    /// The wall clock was known to be right since the machine was started. Otherwise `wall` is what has passed since it was
    /// last known, without the times for which the machine was off.
    pub(crate) known: bool,
}

/// The queue's time. Pure: it is told what the clocks say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgeClock {
    /// It was told where to begin.
    pub(crate) running: bool,
    boot: String,
    /// The queue's time when the machine was started.
    base: i64,
    /// The latest time told.
    latest: i64,
    /// The wall clock at the start of the machine, if it is known to be right.
    started: Option<i64>,
    /// For as long as that is not known: what the wall clock would have been, had the machine never been off, and the clock
    /// since boot at the same moment.
    before: Option<(i64, i64)>,
}

impl AgeClock {
    /// Goes on from an anchor. `reached`: the queue's time had come so far at least, by other evidence.
    pub(crate) fn resume(anchor: Option<&Anchor>, reached: i64, reading: &Reading) -> Self {
        let opened = millis(reading.since_boot);
        let mut clock = Self {
            running: true,
            boot: reading.boot.clone(),
            ..Self::default()
        };
        let same_boot = anchor.filter(|anchor| {
            !anchor.boot.is_empty() && anchor.boot == reading.boot && anchor.since_boot <= opened
        });
        match (same_boot, anchor) {
            (Some(anchor), _) => {
                clock.base = anchor.queue.saturating_sub(anchor.since_boot);
                if anchor.known {
                    clock.started = anchor
                        .wall
                        .map(|wall| wall.saturating_sub(anchor.since_boot));
                } else {
                    clock.before = anchor.wall.map(|wall| (wall, anchor.since_boot));
                }
            }
            (None, anchor) => {
                let queue = anchor.map_or(0, |anchor| anchor.queue);
                clock.base = queue.saturating_sub(opened);
                clock.before = anchor
                    .and_then(|anchor| anchor.wall)
                    .map(|wall| (wall, opened));
            }
        }
        clock.latest = reached.max(clock.base.saturating_add(opened));
        clock.base = clock.latest.saturating_sub(opened);
        clock
    }

    /// The queue's time; never less than before.
    pub(crate) fn now(&mut self, reading: &Reading) -> Now {
        self.latest = self
            .latest
            .max(self.base.saturating_add(millis(reading.since_boot)));
        Now {
            wall: i64::try_from(since_1970(reading.wall).as_micros()).unwrap_or(i64::MAX),
            queue: self.latest,
        }
    }

    /// Somebody who can tell says that the wall clock is right at this moment.
    pub(crate) fn wall_is_right(&mut self, reading: &Reading) {
        let started = millis(since_1970(reading.wall)).saturating_sub(millis(reading.since_boot));
        self.started = Some(started);
        if let Some((wall, since_boot)) = self.before.take() {
            let closed = started.saturating_add(since_boot).saturating_sub(wall);
            self.base = self.base.saturating_add(closed.max(0));
        }
    }

    /// An item with a lifetime comes in. What passed before it must not make it older when that becomes known, and moving the
    /// queue's time would: then it does not count for the others either.
    pub(crate) fn item_came(&mut self) {
        self.before = None;
    }

    /// This moment, to go on from after the next opening. Asks for [`AgeClock::now`] before.
    pub(crate) fn anchor(&self, reading: &Reading) -> Anchor {
        let since_boot = millis(reading.since_boot);
        Anchor {
            queue: self.latest,
            boot: self.boot.clone(),
            since_boot,
            wall: self
                .started
                .or(self.before.map(|(wall, then)| wall.saturating_sub(then)))
                .map(|started| started.saturating_add(since_boot)),
            known: self.started.is_some(),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
