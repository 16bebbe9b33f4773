//! Units of a serial line that must not be asked yet, since the answer to an earlier request may still come.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Who is left alone until when.
#[derive(Debug)]
pub struct Quarantine {
    /// Whoever used the line before may have left a request unanswered, of whichever unit.
    all: Instant,
    units: BTreeMap<u8, Instant>,
}

impl Quarantine {
    /// Every unit until `all`.
    pub fn new(all: Instant) -> Self {
        Self {
            all,
            units: BTreeMap::new(),
        }
    }

    /// One unit at least until `until`.
    pub fn impose(&mut self, unit: u8, until: Instant) {
        let end = self.units.entry(unit).or_insert(until);
        *end = until.max(*end);
    }

    /// When a unit may be asked; `None` if it may now.
    pub fn of(&self, unit: u8, now: Instant) -> Option<Instant> {
        let end = self.units.get(&unit).copied().unwrap_or(self.all);
        Some(end.max(self.all)).filter(|end| *end > now)
    }

    /// When the next unit may be asked again that may not be now.
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        let ends = self.units.values().copied();
        ends.chain([self.all]).filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn each_unit_has_its_own_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut quarantine = Quarantine::new(start + second);
        assert_eq!(quarantine.of(7, start), Some(start + second));
        assert_eq!(quarantine.of(7, start + second), None);
        quarantine.impose(7, start + 3 * second);
        quarantine.impose(7, start + 2 * second);
        quarantine.impose(8, start + 4 * second);
        let now = start + second;
        assert_eq!(quarantine.of(7, now), Some(start + 3 * second));
        assert_eq!(quarantine.of(9, now), None);
        assert_eq!(quarantine.next_end(now), Some(start + 3 * second));
        assert_eq!(quarantine.next_end(start + 4 * second), None);
    }
}
