//! Who gets in when room is short: group transactions under the three policies.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use crate::fault::Fault;
use crate::item::{NewItem, Sequence};
use crate::options::WhenFull;
use crate::row::size;
use crate::space::{Estimate, PAGE};
use crate::store::Store;

/// Pages kept free beyond the estimate of an append: for its mark, and for a tree that grows in height.
const RESERVE: u64 = 6;
/// Attempts at an append whose estimate was too low, with four times the reserve each time.
const ATTEMPTS: u32 = 4;

/// What a transaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) appended: u64,
    pub(crate) removed: u64,
    pub(crate) dropped_oldest: u64,
    pub(crate) dropped_newest: u64,
    pub(crate) rejected: u64,
}

/// One step of a transaction.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Remove(&'a [RangeInclusive<u64>]),
    Append(&'a [NewItem]),
    Trial,
}

/// The answer to an append. Removals and trials have none.
#[derive(Debug)]
pub(crate) enum Outcome {
    Stored(Vec<Sequence>),
    Full,
    Done,
}

impl Store {
    /// Carries out all steps in one transaction and returns when it is on disk. After an error nothing was done.
    pub(crate) fn apply(
        &mut self,
        steps: &[Step<'_>],
        now: i64,
    ) -> Result<(Vec<Outcome>, Changes), Fault> {
        if self.frames.load(Relaxed) >= self.space.stop_frames() {
            self.checkpoint()?;
        }
        let mut reserve = RESERVE;
        let mut attempts = 1;
        loop {
            match self.transact(|store| store.steps(steps, now, reserve)) {
                Err(Fault::AtBound) if attempts < ATTEMPTS => {
                    reserve *= 4;
                    attempts += 1;
                }
                // The log cannot grow. Once it is copied into the database it starts over in the space that it has, which
                // lets removals make room on a full disk.
                Err(
                    Fault::Full
                    | Fault::Storage {
                        retryable: true, ..
                    },
                ) if self.frames.load(Relaxed) > 0 => self.checkpoint()?,
                result => return result,
            }
        }
    }

    fn steps(
        &mut self,
        steps: &[Step<'_>],
        now: i64,
        reserve: u64,
    ) -> Result<(Vec<Outcome>, Changes), Fault> {
        let mut changes = Changes::default();
        // Removals first: they may make the room that the appends need.
        for step in steps {
            if let Step::Remove(ranges) = step {
                for range in *ranges {
                    changes.removed += self.delete(range.clone())?;
                }
            }
        }
        let items = || {
            steps
                .iter()
                .filter_map(|step| {
                    if let Step::Append(items) = step {
                        Some(*items)
                    } else {
                        None
                    }
                })
                .flatten()
        };
        if self.when_full == WhenFull::DropOldest && items().next().is_some() {
            let need = Estimate::default().with(items().map(NewItem::size)).pages();
            changes.dropped_oldest = self.make_room(need + reserve)?;
        }
        let room = self.free_pages()?.saturating_sub(reserve);
        let mut estimate = Estimate::default();
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            outcomes.push(match step {
                Step::Remove(_) => Outcome::Done,
                Step::Trial => {
                    // A number that no item will have: its mark is the row that is written.
                    self.tally.last += 1;
                    self.tally.last_present = false;
                    Outcome::Done
                }
                Step::Append(items) => {
                    self.append(items, now, room, &mut estimate, &mut changes)?
                }
            });
        }
        Ok((outcomes, changes))
    }

    fn append(
        &mut self,
        items: &[NewItem],
        now: i64,
        room: u64,
        estimate: &mut Estimate,
        changes: &mut Changes,
    ) -> Result<Outcome, Fault> {
        if self.when_full == WhenFull::Reject {
            let with_these = estimate.with(items.iter().map(NewItem::size));
            if with_these.pages() > room {
                changes.rejected += items.len() as u64;
                return Ok(Outcome::Full);
            }
            *estimate = with_these;
        }
        let mut sequences = Vec::with_capacity(items.len());
        for item in items {
            if self.when_full == WhenFull::DropNewest {
                let with_this = estimate.with(std::iter::once(item.size()));
                if with_this.pages() > room {
                    changes.dropped_newest += 1;
                    self.tally.last += 1;
                    self.tally.last_present = false;
                    sequences.push(Sequence(self.tally.last));
                    continue;
                }
                *estimate = with_this;
            }
            self.insert(self.tally.last + 1, now, item.into())?;
            changes.appended += 1;
            sequences.push(Sequence(self.tally.last));
        }
        Ok(Outcome::Stored(sequences))
    }

    /// Deletes oldest items until so many pages are free, and says how many items that took.
    pub(crate) fn make_room(&mut self, pages: u64) -> Result<u64, Fault> {
        let mut dropped = 0;
        loop {
            let free = self.free_pages()?;
            if free >= pages || self.tally.depth == 0 {
                return Ok(dropped);
            }
            let Some(until) = self.oldest_filling((pages - free) * PAGE)? else {
                return Ok(dropped);
            };
            dropped += self.delete(0..=until)?;
        }
    }

    /// The last of the oldest items that have so many bytes together.
    fn oldest_filling(&self, bytes: u64) -> Result<Option<u64>, Fault> {
        let mut statement = self.statement(concat!(
            "SELECT sequence, ",
            size!(),
            " FROM item ORDER BY sequence"
        ))?;
        let mut rows = statement.query([])?;
        let (mut found, mut sum) = (None, 0);
        while sum < bytes
            && let Some(row) = rows.next()?
        {
            let sequence: u64 = row.get(0)?;
            if Some(sequence) != self.tally.mark {
                found = Some(sequence);
                sum += row.get::<_, u64>(1)?;
            }
        }
        Ok(found)
    }
}
