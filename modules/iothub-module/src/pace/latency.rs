//! The latest PUBACKs, for those who ask how long they take.

use std::time::Duration;

/// So many are kept, 8 bytes each.
const KEPT: usize = 512;

/// Quantiles of the last 512 times from sending to PUBACK. The metrics have a histogram of all; this is for the status.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Microseconds; a ring once it is full.
    took: Vec<u64>,
    next: usize,
}

impl Latency {
    /// Of none yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A PUBACK came, `took` after its message was sent.
    pub fn add(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match self.took.get_mut(self.next) {
            Some(place) => *place = took,
            None => self.took.push(took),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Median and 99th percentile; none before the first PUBACK. Sorts up to 512 numbers: for the status, not for each message.
    #[must_use]
    pub fn median_and_p99(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = |hundredths: usize| {
            let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
            Duration::from_micros(sorted.get(place.min(last)).copied().unwrap_or_default())
        };
        Some((at(50), at(99)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_count() {
        let mut latency = Latency::new();
        assert_eq!(latency.median_and_p99(), None);
        latency.add(Duration::from_millis(7));
        let seven = Duration::from_millis(7);
        assert_eq!(latency.median_and_p99(), Some((seven, seven)));
        for milliseconds in 1..=1000 {
            latency.add(Duration::from_millis(milliseconds));
        }
        let (median, p99) = latency.median_and_p99().unwrap();
        assert_eq!((median.as_millis(), p99.as_millis()), (744, 995));
    }
}
