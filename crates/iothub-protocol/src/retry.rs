//! How long to wait before the next connection: exponential with jitter.

use std::time::Duration;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The network, or the hub going away.
    Lost,
    /// The hub answered CONNECT with a refusal. It always says 5, whatever the cause (azure-iot-sdk-c, connection and messaging reliability),
    /// so trying faster helps nobody.
    Refused,
}

/// Bounds of the wait. The defaults are 0.1 to 10 s after a loss (Node, C# and Java SDKs) and 10 to 60 s after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub lost: (Duration, Duration),
    pub refused: (Duration, Duration),
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            lost: (Duration::from_millis(100), Duration::from_secs(10)),
            refused: (Duration::from_secs(10), Duration::from_secs(60)),
        }
    }
}

impl RetryPolicy {
    /// The wait before attempt `attempt` (0 is the first after a connection that worked). `random` is from [0, 1): the wait lies between half
    /// of the exponential value and the whole of it, and never outside the bounds.
    pub fn delay(&self, cause: Interruption, attempt: u32, random: f64) -> Duration {
        let (least, most) = match cause {
            Interruption::Lost => self.lost,
            Interruption::Refused => self.refused,
        };
        let most = most.max(least);
        let whole = least
            .saturating_mul(
                1_u32
                    .checked_shl(attempt.saturating_add(1))
                    .unwrap_or(u32::MAX),
            )
            .min(most);
        let random = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            0.5
        };
        whole.mul_f64(0.5 + random / 2.0).clamp(least, most)
    }
}
