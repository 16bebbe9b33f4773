//! A set of sequence numbers that costs memory only for its gaps.

use std::collections::BTreeMap;

/// Numbers kept as ranges, first → last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a number; `false` if it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let below = self
            .0
            .range(..=number)
            .next_back()
            .map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let mut first = number;
        let mut last = number;
        if let Some((start, end)) = below
            && end + 1 == number
        {
            first = start;
        }
        if let Some(next) = number.checked_add(1)
            && let Some(end) = self.0.remove(&next)
        {
            last = end;
        }
        self.0.insert(first, last);
        true
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0
            .range(..=number)
            .next_back()
            .is_some_and(|(_, last)| *last >= number)
    }

    /// The greatest number, 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, last)| *last)
    }

    /// Numbers from 1 to `end` that are not in the set.
    pub(crate) fn gaps(&self, end: u64) -> impl Iterator<Item = u64> + '_ {
        let mut next = 1;
        let mut holes = Vec::new();
        for (first, last) in &self.0 {
            if next < *first {
                holes.push(next..=(first - 1).min(end));
            }
            next = last.saturating_add(1);
        }
        if next <= end {
            holes.push(next..=end);
        }
        holes.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_as_a_set_of_numbers() {
        let mut ranges = Ranges::default();
        let mut model = BTreeSet::new();
        // A fixed walk through all residues: every order of insertion, every number twice.
        for step in 0..200_u64 {
            let number = (step * 37) % 97 + 1;
            if number % 10 == 0 {
                continue;
            }
            assert_eq!(ranges.insert(number), model.insert(number), "{number}");
        }
        assert_eq!(ranges.last(), 97);
        let gaps: Vec<u64> = ranges.gaps(101).collect();
        let expected: Vec<u64> = (1..=101).filter(|number| !model.contains(number)).collect();
        assert_eq!(gaps, expected);
        assert!((1..=101).all(|number| ranges.contains(number) == model.contains(&number)));
    }

    #[test]
    fn an_empty_set_misses_everything() {
        assert_eq!(Ranges::default().gaps(3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Ranges::default().gaps(0).count(), 0);
        let mut ranges = Ranges::default();
        ranges.insert(9);
        assert_eq!(ranges.gaps(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
