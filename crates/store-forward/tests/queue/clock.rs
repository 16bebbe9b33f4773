//! A clock that tests set.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store_forward::{Clock, QueueOptions, Reading};

/// Any day.
pub(crate) const DAY: u64 = 1_790_000_000;

#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Reading>);

impl Clock for TestClock {
    fn read(&self) -> Reading {
        self.0.lock().unwrap().clone()
    }
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Reading {
            wall: UNIX_EPOCH + Duration::from_secs(DAY),
            since_boot: Duration::from_secs(100),
            boot: "1".to_owned(),
        })))
    }

    /// Time passes, while the machine runs.
    pub(crate) fn advance(&self, by: Duration) {
        let mut reading = self.0.lock().unwrap();
        reading.wall += by;
        reading.since_boot += by;
    }

    /// The wall clock is set.
    pub(crate) fn set(&self, wall: SystemTime) {
        self.0.lock().unwrap().wall = wall;
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.0.lock().unwrap().wall
    }

    /// The machine is off for a while and starts with a wall clock that says anything.
    pub(crate) fn reboot(&self, wall: SystemTime) {
        let mut reading = self.0.lock().unwrap();
        reading.wall = wall;
        reading.since_boot = Duration::from_secs(7);
        reading.boot.push('+');
    }

    pub(crate) fn in_options(self: &Arc<Self>, options: QueueOptions) -> QueueOptions {
        QueueOptions {
            clock: Arc::<Self>::clone(self),
            ..options
        }
    }
}
