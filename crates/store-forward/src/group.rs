//! Which writes share a commit.

use crate::command::{Work, Write};
use crate::item::NewItem;
use crate::options::QueueOptions;
use crate::space::{Estimate, Space, removal_pages};

/// A group that has this part of `commit_items` does not wait for callers of which there is no sign.
const WORTH_A_SYNC: usize = 2;

/// When a group is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    items: usize,
    bytes: usize,
    pages: u64,
    /// Tables that hold anything.
    pub(crate) tables: u64,
}

impl Bounds {
    pub(crate) fn new(options: &QueueOptions, space: Space) -> Self {
        Self {
            items: options.commit_items,
            bytes: options.commit_bytes,
            pages: space.transaction_pages(),
            tables: 1,
        }
    }
}

/// Writes that wait for the next commit.
#[derive(Debug)]
pub(crate) struct Group {
    bounds: Bounds,
    pub(crate) writes: Vec<Write>,
    items: usize,
    bytes: usize,
    estimate: Estimate,
    removal: u64,
}

impl Group {
    pub(crate) fn new(bounds: Bounds, first: Write) -> Self {
        let mut group = Self {
            bounds,
            writes: Vec::new(),
            items: 0,
            bytes: 0,
            estimate: Estimate::default(),
            removal: 0,
        };
        // The handle cuts writes so that one alone always fits.
        group.count(&first.work);
        group.writes.push(first);
        group
    }

    /// Takes a write in, or gives it back if the transaction would become too large for the log.
    pub(crate) fn add(&mut self, write: Write) -> Result<(), Write> {
        let before = (self.items, self.bytes, self.estimate, self.removal);
        self.count(&write.work);
        if self.estimate.pages() + self.removal > self.bounds.pages {
            (self.items, self.bytes, self.estimate, self.removal) = before;
            return Err(write);
        }
        self.writes.push(write);
        Ok(())
    }

    fn count(&mut self, work: &Work) {
        match work {
            Work::Append { items, .. } => {
                self.items += items.len();
                self.bytes += items.iter().map(NewItem::size).sum::<usize>();
                self.estimate = self.estimate.with(items.iter());
            }
            Work::Remove { ranges, .. } | Work::Purge { ranges, .. } => {
                let items = ranges
                    .iter()
                    .map(|range| (range.end() - range.start()).saturating_add(1));
                let items = items.fold(0, u64::saturating_add);
                self.items = self
                    .items
                    .saturating_add(usize::try_from(items).unwrap_or(usize::MAX));
                let tables = self.bounds.tables;
                self.removal += ranges
                    .iter()
                    .map(|range| removal_pages(range, tables))
                    .sum::<u64>();
            }
            Work::Trial { .. } => {}
        }
    }

    /// Whether it has reached a bound.
    pub(crate) fn is_full(&self) -> bool {
        self.items >= self.bounds.items || self.bytes >= self.bounds.bytes
    }

    /// Whether waiting for more is pointless: the sync is worth it already, and as many callers wait as did for the
    /// commit before. Callers that append again as soon as they are answered have all arrived then.
    pub(crate) fn is_complete(&self, callers_before: usize) -> bool {
        self.items >= self.bounds.items.div_ceil(WORTH_A_SYNC)
            && self.writes.len() >= callers_before
    }
}
