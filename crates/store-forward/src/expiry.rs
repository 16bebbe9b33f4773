//! Items whose lifetime is over.

use crate::fault::Fault;
use crate::item::Priority;
use crate::row::{Content, per_priority};
use crate::store::Store;
use crate::tally::Lots;

/// Expired items are looked for so often, in milliseconds of the queue's time.
const EVERY: i64 = 1000;
/// How many are looked at in one go.
const AT_ONCE: usize = 1024;

impl Store {
    /// Drops some of the expired items within a transaction, if they were not looked for just now.
    pub(crate) fn sweep(&mut self, queue: i64) -> Result<Lots, Fault> {
        let mut dropped = Lots::default();
        if !self.sweep_is_due(queue) {
            return Ok(dropped);
        }
        let mut ranges = self.space.rows_per_removal().div_ceil(2);
        for priority in Priority::descending().rev() {
            if self.tally.lanes[priority.index()].timed == 0 {
                continue;
            }
            let expired = self.expired(priority, queue)?;
            let mut rest = &expired[..];
            while let Some(first) = rest.first() {
                if ranges == 0 {
                    // There are more: the next transaction goes on.
                    return Ok(dropped);
                }
                ranges -= 1;
                let run = self.run(priority, rest, queue)?;
                if run > 0 {
                    dropped.join(self.delete_in(priority, &(*first..=rest[run - 1]))?);
                }
                // A row that is not sound: who reads it counts it as what it is.
                rest = &rest[run.max(1)..];
            }
            if expired.len() == AT_ONCE {
                return Ok(dropped);
            }
        }
        self.swept = Some(queue);
        Ok(dropped)
    }

    pub(crate) fn sweep_is_due(&self, queue: i64) -> bool {
        let due = self
            .swept
            .is_none_or(|swept| queue.saturating_sub(swept) >= EVERY);
        due && self.tally.timed() > 0
    }

    /// Numbers of items that the index says have expired, in order.
    fn expired(&self, priority: Priority, queue: i64) -> Result<Vec<u64>, Fault> {
        const EXPIRED: [&str; Priority::COUNT] = per_priority!(
            "SELECT sequence FROM ",
            " WHERE expires <= ?1 AND sequence > ?3 ORDER BY expires LIMIT ?2"
        );
        let gone = self.tally.lanes[priority.index()].gone;
        let mut found = self
            .statement(EXPIRED[priority.index()])?
            .query_map((queue, AT_ONCE, gone), |row| row.get(0))?
            .collect::<Result<Vec<u64>, _>>()?;
        found.sort_unstable();
        Ok(found)
    }

    /// How many of them, from the first on, are neighbours in their table and sound: one walk deletes them. The index is
    /// believed only if the items say the same.
    fn run(&self, priority: Priority, expired: &[u64], queue: i64) -> Result<usize, Fault> {
        let number = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
        let (Some(first), Some(last)) = (expired.first(), expired.last()) else {
            return Ok(0);
        };
        let (mut run, mut wrong) = (0, None);
        self.rows(priority, number(*first) - 1, number(*last), |row| {
            let Content::Item(item) = row.content else {
                return false;
            };
            if expired.get(run) != Some(&item.sequence) {
                return false;
            }
            if !item.terms.has_expired(queue) {
                wrong = Some(item.sequence);
                return false;
            }
            run += 1;
            true
        })?;
        match wrong {
            Some(sequence) => Err(Fault::Damaged(format!(
                "the index of lifetimes is wrong about item {sequence}"
            ))),
            None => Ok(run),
        }
    }
}
