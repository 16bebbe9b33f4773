//! A device that failed repeatedly is not asked for a while, so that its timeouts do not hold up its link.

use std::time::Duration;

use tokio::time::Instant;

/// The state of one device.
#[derive(Debug)]
pub struct Parking {
    park_after: u32,
    park_for: Duration,
    /// Failed cycles in a row.
    failures: u32,
    until: Option<Instant>,
    /// The stream whose cycle tries the device again; one at a time.
    probe: Option<usize>,
}

impl Parking {
    /// Parks after `park_after` failed cycles in a row, for `park_for`.
    pub fn new(park_after: u32, park_for: Duration) -> Self {
        Self {
            park_after: park_after.max(1),
            park_for,
            failures: 0,
            until: None,
            probe: None,
        }
    }

    /// Whether a cycle of `stream` that begins now may ask the device. The first one after the time is the probe.
    pub fn admit(&mut self, stream: usize, now: Instant) -> bool {
        match self.until {
            None => true,
            Some(until) if now < until || self.probe.is_some() => false,
            Some(_) => {
                self.probe = Some(stream);
                true
            }
        }
    }

    /// Whether it is left alone at present, but for the probe.
    pub fn is_parked(&self) -> bool {
        self.until.is_some()
    }

    /// Whether a running cycle may go on asking: the device may have been parked since it began.
    pub fn may_ask(&self, stream: usize) -> bool {
        self.until.is_none() || self.probe == Some(stream)
    }

    /// Whether a request may be repeated: a device that failed its last cycle is asked once.
    pub fn may_retry(&self) -> bool {
        self.failures == 0 && self.until.is_none()
    }

    /// A cycle came to its end.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.until = None;
        self.probe = None;
    }

    /// A cycle was broken off since the device did not answer. True if the device is parked by it, or stays so.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.until.is_some() || self.failures >= self.park_after {
            self.until = Some(now + self.park_for);
            self.probe = None;
        }
        self.until.is_some()
    }

    /// A cycle ended for another reason (the link is gone): if it was the probe, the next one is.
    pub fn abandoned(&mut self, stream: usize) {
        if self.probe == Some(stream) {
            self.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_device_costs_one_try_per_parking_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut parking = Parking::new(3, 10 * second);
        assert!(parking.may_retry());
        assert!(!parking.failed(start));
        assert!(!parking.may_retry(), "asked once after a failure");
        assert!(!parking.failed(start));
        assert!(parking.failed(start), "third failure parks");
        assert!(!parking.admit(0, start + 9 * second));
        assert!(!parking.may_ask(0), "also for a cycle that runs");

        let later = start + 10 * second;
        assert!(parking.admit(0, later), "the probe");
        assert!(!parking.admit(1, later), "only one");
        assert!(parking.may_ask(0) && !parking.may_ask(1));
        assert!(parking.failed(later), "one failure parks again");
        assert!(!parking.admit(0, later + 9 * second));

        let later = later + 10 * second;
        assert!(parking.admit(1, later));
        parking.abandoned(1);
        assert!(parking.admit(0, later), "the next one is the probe");
        parking.succeeded();
        assert!(parking.admit(1, later) && parking.may_retry());
    }
}
