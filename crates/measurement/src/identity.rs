//! Who sends a stream of measurements, and which run of it.

use std::time::{SystemTime, UNIX_EPOCH};

/// What a name of an appliance, module, device, group or tag may look like, for error messages.
pub const NAME_RULE: &str =
    "1 to 32 of the characters A-Z a-z 0-9 . _ -, the first one a letter or a digit";

/// True if `name` matches `[A-Za-z0-9][A-Za-z0-9._-]{0,31}`.
/// Such a name needs no escaping in JSON, in an event id, in a topic or in a metric label.
pub fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes.first(), Some(first) if first.is_ascii_alphanumeric())
        && bytes.len() <= 32
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The CloudEvents `source` of a module: `/fieldgate/{appliance}/{module}`.
pub fn event_source(appliance: &str, module: &str) -> String {
    format!("/fieldgate/{appliance}/{module}")
}

/// Names one stream: the events of one device and poll group. Every part should hold [`valid_name`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamIdentity {
    /// The appliance, by default its host name.
    pub appliance: String,
    /// The module that reads the device.
    pub module: String,
    /// The device.
    pub device: String,
    /// The poll group.
    pub group: String,
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const TIME_DIGITS: usize = 9;
const RANDOM_DIGITS: usize = 8;

/// One run of a module. Sequences start at 1 in each epoch.
///
/// 17 characters of `[0-9a-z]`: milliseconds since 1970 in base 36 (sorts by time until the year 5188), then eight
/// random digits, so that an appliance whose clock restarts at the same time still never repeats an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(Box<str>);

impl Epoch {
    /// A new epoch, different from every other one.
    pub fn new() -> Self {
        Self(unique().into_boxed_str())
    }

    /// The text as it stands in events.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self::new()
    }
}

/// A time-ordered unique text of 17 characters of `[0-9a-z]`.
pub(crate) fn unique() -> String {
    let milliseconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let mut digits = [b'0'; TIME_DIGITS + RANDOM_DIGITS];
    let (time, random) = digits.split_at_mut(TIME_DIGITS);
    fill_base36(time, milliseconds);
    fill_base36(random, rand::random::<u64>());
    digits.iter().map(|digit| char::from(*digit)).collect()
}

fn fill_base36(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number % 36) as usize];
        number /= 36;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "press-1", "A.b_c-9", &"x".repeat(32)] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", &"x".repeat(33)] {
            assert!(!valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn epochs_are_unique_and_sort_by_time() {
        let first = Epoch::new();
        std::thread::park_timeout(std::time::Duration::from_millis(3));
        let second = Epoch::new();
        assert!(first.as_str()[..TIME_DIGITS] < second.as_str()[..TIME_DIGITS]);
        assert!(first.as_str().len() <= 20 && valid_name(first.as_str()));
        let many: std::collections::HashSet<_> = (0..1000).map(|_| Epoch::new()).collect();
        assert_eq!(many.len(), 1000);
    }
}
