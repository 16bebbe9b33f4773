//! Growing waits between attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles from 0.25 s to 30 s, each wait shortened by up to a quarter, so that ports do not try in step.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next attempt is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub fn wait(&mut self) -> Duration {
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - rand::random_range(0.0..0.25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        assert!(backoff.wait() <= FIRST);
        let last = (0..200).map(|_| backoff.wait()).last().unwrap();
        assert!(last <= LONGEST && last > LONGEST / 2);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
