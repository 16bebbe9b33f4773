//! The skipped ranges of one stream: sequences that were passed over and may still come.

/// Inclusive ranges, ascending, never touching each other; bounded by forgetting the lowest.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Gaps {
    ranges: Vec<(u64, u64)>,
}

impl Gaps {
    /// Those of a list that somebody else wrote; None unless it is ascending, with something between any two, and ends by `last`.
    pub(super) fn from_ranges(ranges: Vec<(u64, u64)>, last: u64) -> Option<Self> {
        let ordered = ranges.iter().all(|&(first, end)| first <= end);
        let apart = ranges
            .windows(2)
            .all(|pair| matches!(pair, [one, next] if one.1.saturating_add(1) < next.0));
        let within = ranges.last().is_none_or(|&(_, end)| end <= last);
        (ordered && apart && within).then_some(Self { ranges })
    }

    /// Ascending.
    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    #[cfg(test)]
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.position(sequence).is_ok()
    }

    /// Remembers `first..=last`. The caller never inserts what is already there twice over a border, but overlaps are merged anyway.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self
            .ranges
            .partition_point(|&(_, end)| end.saturating_add(1) < first);
        let to = self
            .ranges
            .partition_point(|&(start, _)| start <= last.saturating_add(1));
        let mut merged = (first, last);
        for &(start, end) in self.ranges.get(from..to).unwrap_or_default() {
            merged = (merged.0.min(start), merged.1.max(end));
        }
        self.ranges.splice(from..to.max(from), [merged]);
    }

    /// Takes one sequence out; true when it was there.
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        let Ok(at) = self.position(sequence) else {
            return false;
        };
        let (first, last) = self.ranges[at];
        let below = (first < sequence).then(|| (first, sequence - 1));
        let above = (sequence < last).then(|| (sequence + 1, last));
        self.ranges.splice(at..=at, below.into_iter().chain(above));
        true
    }

    /// Takes away the range that ends at `last` and gives its first sequence.
    pub(super) fn pop_ending_at(&mut self, last: u64) -> Option<u64> {
        let &(first, end) = self.ranges.last()?;
        (end == last).then(|| {
            self.ranges.pop();
            first
        })
    }

    /// Forgets the lowest ranges above `limit`; gives the highest forgotten sequence.
    pub(super) fn forget_beyond(&mut self, limit: usize) -> Option<u64> {
        let surplus = self.ranges.len().saturating_sub(limit);
        self.ranges.drain(..surplus).next_back().map(|(_, end)| end)
    }

    fn position(&self, sequence: u64) -> Result<usize, usize> {
        self.ranges.binary_search_by(|&(first, last)| {
            if last < sequence {
                std::cmp::Ordering::Less
            } else if first > sequence {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Gaps;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                (1u64..60, 0u64..8).prop_map(|(first, more)| Step::Insert(first, first + more)),
                (1u64..70).prop_map(Step::Remove),
            ],
            0..80,
        )
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_they_stand_for(steps in steps()) {
            let mut gaps = Gaps::default();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(first, last) => {
                        gaps.insert(first, last);
                        model.extend(first..=last);
                    }
                    Step::Remove(one) => prop_assert_eq!(gaps.remove(one), model.remove(&one)),
                }
                for sequence in 0..75 {
                    prop_assert_eq!(gaps.contains(sequence), model.contains(&sequence));
                }
                prop_assert!(gaps.ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            }
        }
    }

    #[test]
    fn the_lowest_are_forgotten_first() {
        let mut gaps = Gaps::default();
        for first in [10, 20, 30] {
            gaps.insert(first, first + 2);
        }
        assert_eq!(gaps.forget_beyond(1), Some(22));
        assert!(!gaps.contains(21) && gaps.contains(31));
        assert_eq!(gaps.forget_beyond(1), None);
    }

    #[test]
    fn the_largest_sequence_does_not_overflow() {
        let mut gaps = Gaps::default();
        gaps.insert(u64::MAX - 1, u64::MAX);
        gaps.insert(5, 5);
        assert!(gaps.remove(u64::MAX));
        assert_eq!(gaps.pop_ending_at(u64::MAX - 1), Some(u64::MAX - 1));
    }
}
