//! Sets of priorities. 9 goes first.

pub use store_forward::Priority;

/// A set of priorities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Priorities(u16);

impl Priorities {
    /// Of none.
    pub const NONE: Self = Self(0);

    /// With `priority`, too.
    #[must_use]
    pub fn with(self, priority: Priority) -> Self {
        Self(self.0 | 1 << priority.get())
    }

    /// Without `priority`.
    #[must_use]
    pub fn without(self, priority: Priority) -> Self {
        Self(self.0 & !(1 << priority.get()))
    }

    /// Without those in `other`.
    #[must_use]
    pub fn but_not(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `priority` is in it.
    #[must_use]
    pub fn has(self, priority: Priority) -> bool {
        self.0 & 1 << priority.get() != 0
    }

    /// Those in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The one that goes first.
    #[must_use]
    pub fn highest(self) -> Option<Priority> {
        let number = 15_u32.checked_sub(self.0.leading_zeros())?;
        Priority::new(u8::try_from(number).ok()?)
    }

    /// The next one below `priority`; below the lowest, the highest.
    pub(super) fn next_below(self, priority: Priority) -> Option<Priority> {
        let below = Self(self.0 & ((1 << priority.get()) - 1));
        below.highest().or_else(|| self.highest())
    }
}

impl FromIterator<Priority> for Priorities {
    fn from_iter<I: IntoIterator<Item = Priority>>(priorities: I) -> Self {
        priorities.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten() {
        assert_eq!(Priority::new(9), Some(Priority::HIGHEST));
        assert_eq!(Priority::new(10), None);
        assert_eq!(Priority::default().get(), 5);
    }

    #[test]
    fn sets_know_who_is_first_and_next() {
        let of = |number| Priority::new(number).unwrap();
        let set: Priorities = [of(0), of(4), of(9)].into_iter().collect();
        assert!(set.has(of(4)) && !set.has(of(5)) && !set.is_empty());
        assert_eq!(set.highest(), Some(of(9)));
        assert_eq!(set.without(of(9)).highest(), Some(of(4)));
        assert_eq!(set.next_below(of(9)), Some(of(4)));
        assert_eq!(set.next_below(of(4)), Some(of(0)));
        assert_eq!(set.next_below(of(0)), Some(of(9)));
        assert_eq!(Priorities::NONE.highest(), None);
        assert_eq!(Priorities::NONE.next_below(of(3)), None);
    }
}
