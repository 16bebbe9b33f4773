//! The wait between attempts: doubles up to a bound, with jitter, so that many clients do not come back at once.

use std::time::Duration;

/// Doubling waits.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    current: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            current: first,
        }
    }

    /// The next wait: between half of the current bound and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.current.mul_f64(rand::random_range(0.5..=1.0));
        self.current = (self.current * 2).min(self.longest);
        wait
    }

    /// It worked: start over.
    pub fn reset(&mut self) {
        self.current = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        for bound in [1, 2, 4, 8, 16, 30, 30] {
            let bound = Duration::from_secs(bound);
            let wait = backoff.next_wait();
            assert!(wait <= bound && wait >= bound / 2, "{wait:?} of {bound:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
