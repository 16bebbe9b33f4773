//! Latencies in buckets: bounded memory, at most 3 % too high.

/// Buckets for each doubling.
const STEPS: usize = 32;

/// Counts of microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: vec![0; bucket(u64::MAX) + 1],
            total: 0,
        }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, microseconds: u64) {
        self.counts[bucket(microseconds)] += 1;
        self.total += 1;
    }

    /// The latency in milliseconds that `share` (0 to 1) of all do not exceed; `None` without any.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some((upper_bound(bucket) as f64 / 100.0).round() / 10.0);
            }
        }
        None
    }
}

fn bucket(microseconds: u64) -> usize {
    let steps = STEPS as u64;
    if microseconds < steps {
        return microseconds as usize;
    }
    let doubling = microseconds.ilog2() - STEPS.ilog2();
    let within = (microseconds >> doubling) - steps;
    STEPS * (doubling as usize + 1) + within as usize
}

/// The greatest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let doubling = bucket / STEPS - 1;
    let within = (bucket % STEPS + STEPS) as u64;
    (((u128::from(within) + 1) << doubling) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_their_values_closely() {
        for value in [
            0,
            1,
            31,
            32,
            33,
            63,
            64,
            1_000,
            1_001,
            250_000,
            10_000_000,
            u64::MAX,
        ] {
            let bound = upper_bound(bucket(value));
            assert!(bound >= value, "{value} → {bound}");
            assert!(
                bound as f64 <= value as f64 * 1.04 + 1.0,
                "{value} → {bound}"
            );
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), None);
        for milliseconds in 1..=100_u64 {
            latencies.add(milliseconds * 1_000);
        }
        let median = latencies.quantile_ms(0.5).unwrap();
        assert!((50.0..52.0).contains(&median), "{median}");
        let high = latencies.quantile_ms(0.99).unwrap();
        assert!((99.0..103.0).contains(&high), "{high}");
    }
}
