//! Who gets in when room is short: group transactions under the three policies.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use crate::age::Now;
use crate::fault::Fault;
use crate::item::{NewItem, Priority, Sequence};
use crate::options::WhenFull;
use crate::row::{Terms, per_priority, size};
use crate::space::{Estimate, PAGE};
use crate::store::Store;
use crate::tally::{Content, Lots};

/// Pages kept free beyond the estimate of an append: for its mark, and for a tree that grows in height.
const RESERVE: u64 = 6;
/// Attempts at an append whose estimate was too low, with four times the reserve each time.
const ATTEMPTS: u32 = 4;

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) appended: Lots,
    pub(crate) removed: Lots,
    pub(crate) dropped_oldest: Lots,
    pub(crate) dropped_newest: Lots,
    pub(crate) dropped_expired: Lots,
    pub(crate) purged: Lots,
    pub(crate) rejected: Lots,
}

/// One step of a transaction.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Remove(&'a [RangeInclusive<u64>]),
    /// Removes what nobody has sent.
    Purge(&'a [RangeInclusive<u64>]),
    Append(&'a [NewItem]),
    Trial,
}

impl<'a> Step<'a> {
    fn items(&self) -> &'a [NewItem] {
        match self {
            Self::Append(items) => items,
            Self::Remove(_) | Self::Purge(_) | Self::Trial => &[],
        }
    }
}

/// The answer to a step. Removals and trials have none.
#[derive(Debug)]
pub(crate) enum Outcome {
    Stored(Vec<Sequence>),
    Full,
    /// How many items went.
    Purged(u64),
    Done,
}

impl Store {
    /// Carries out all steps in one transaction and returns when it is on disk. After an error nothing was done.
    pub(crate) fn apply(
        &mut self,
        steps: &[Step<'_>],
        now: Now,
    ) -> Result<(Vec<Outcome>, Changes), Fault> {
        if self.frames.load(Relaxed) >= self.space.stop_frames() {
            self.checkpoint()?;
        }
        let mut reserve = RESERVE;
        let mut attempts = 1;
        let mut deleted = false;
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
                // Nor can the database. Rows of items that are gone have the room.
                Err(
                    Fault::Full
                    | Fault::Storage {
                        retryable: true, ..
                    },
                ) if self.has_gone() && !deleted => {
                    deleted = true;
                    self.transact(|store| store.delete_gone_for(u64::MAX))?;
                }
                result => return result,
            }
        }
    }

    fn steps(
        &mut self,
        steps: &[Step<'_>],
        now: Now,
        reserve: u64,
    ) -> Result<(Vec<Outcome>, Changes), Fault> {
        let mut changes = Changes::default();
        if steps.iter().any(|step| !step.items().is_empty()) {
            self.drop_note()?;
        }
        // Removals first: they may make the room that the appends need.
        let mut purged = Vec::new();
        for step in steps {
            match step {
                Step::Remove(ranges) => {
                    for range in *ranges {
                        changes.removed.join(self.delete(range)?);
                    }
                }
                Step::Purge(ranges) => {
                    let before = changes.purged.items();
                    for range in *ranges {
                        changes.purged.join(self.delete(range)?);
                    }
                    purged.push(changes.purged.items() - before);
                }
                Step::Append(_) | Step::Trial => {}
            }
        }
        let mut purged = purged.into_iter();
        changes.dropped_expired = self.sweep(now.queue)?;
        self.delete_gone()?;
        let need = steps.iter().flat_map(Step::items);
        let need = Estimate::default().with(need).pages() + reserve;
        if self.free_pages()? < need {
            self.delete_gone_for(need)?;
        }
        // The items that find no room, by their place among all of the transaction.
        let mut refused = Vec::new();
        if self.when_full == WhenFull::DropOldest {
            let items: Vec<_> = steps.iter().flat_map(Step::items).collect();
            refused = self.make_room_for(&items, reserve, &mut changes.dropped_oldest)?;
        }
        let mut append = Append {
            now,
            room: self.free_pages()?.saturating_sub(reserve),
            estimate: Estimate::default(),
            refused: refused.into_iter().peekable(),
            place: 0,
        };
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            outcomes.push(match step {
                Step::Remove(_) => Outcome::Done,
                Step::Purge(_) => Outcome::Purged(purged.next().unwrap_or_default()),
                Step::Trial => {
                    self.write_anchor()?;
                    Outcome::Done
                }
                Step::Append(items) => self.append(items, &mut append, &mut changes)?,
            });
        }
        Ok((outcomes, changes))
    }

    fn append(
        &mut self,
        items: &[NewItem],
        append: &mut Append,
        changes: &mut Changes,
    ) -> Result<Outcome, Fault> {
        if self.when_full == WhenFull::Reject {
            let with_these = append.estimate.with(items.iter());
            if with_these.pages() > append.room {
                for item in items {
                    let (route, content) = counted(item);
                    changes.rejected.add(item.priority, route, content);
                }
                return Ok(Outcome::Full);
            }
            append.estimate = with_these;
        }
        let mut sequences = Vec::with_capacity(items.len());
        for item in items {
            let (route, content) = counted(item);
            let sequence = self.tally.last + 1;
            sequences.push(Sequence(sequence));
            if append.refuses(item, self.when_full) {
                changes.dropped_newest.add(item.priority, route, content);
                self.tally.last = sequence;
                self.tally.last_present = false;
                continue;
            }
            let terms = Terms::new(item, append.now.queue);
            self.insert(sequence, append.now.wall, item.into(), terms)?;
            changes.appended.add(item.priority, route, content);
        }
        Ok(Outcome::Stored(sequences))
    }

    /// Makes room for new items under [`WhenFull::DropOldest`]: what goes first has the lowest priority, and among those is
    /// the oldest, whether it is stored or new. Gives the places of the new ones that go.
    fn make_room_for(
        &mut self,
        items: &[&NewItem],
        reserve: u64,
        dropped: &mut Lots,
    ) -> Result<Vec<usize>, Fault> {
        let mut refused = Vec::new();
        if items.is_empty() {
            return Ok(refused);
        }
        let mut estimate = Estimate::default().with(items.iter().copied());
        if self.free_pages()? >= estimate.pages() + reserve {
            return Ok(refused);
        }
        let mut waiting: [VecDeque<usize>; Priority::COUNT] = Default::default();
        for (place, item) in items.iter().enumerate() {
            waiting[item.priority.index()].push_back(place);
        }
        loop {
            let lowest = Priority::descending()
                .rev()
                .find(|priority| !waiting[priority.index()].is_empty());
            let Some(lowest) = lowest else { break };
            dropped.join(self.make_room(estimate.pages() + reserve, lowest)?);
            let free = self.free_pages()?;
            if free >= estimate.pages() + reserve || self.tally.lowest().is_none() {
                break;
            }
            // All that is stored matters more than the least of the new ones.
            let missing = (estimate.pages() + reserve - free) * PAGE;
            let mut bytes = 0;
            while bytes < missing
                && let Some(place) = waiting[lowest.index()].pop_front()
            {
                bytes += items[place].size() as u64;
                refused.push(place);
            }
            let mut left: Vec<_> = waiting.iter().flatten().copied().collect();
            left.sort_unstable();
            estimate = Estimate::default().with(left.into_iter().map(|place| items[place]));
        }
        refused.sort_unstable();
        Ok(refused)
    }

    /// Deletes items until so many pages are free: the lowest priority first, up to and with `highest`, and among those the
    /// oldest.
    pub(crate) fn make_room(&mut self, pages: u64, highest: Priority) -> Result<Lots, Fault> {
        let mut dropped = Lots::default();
        loop {
            let free = self.free_pages()?;
            let lowest = self.tally.lowest().filter(|lowest| *lowest <= highest);
            let Some(lowest) = lowest.filter(|_| free < pages) else {
                return Ok(dropped);
            };
            // Step by step, because an item may free more than its bytes.
            let step = (pages - free).div_ceil(2) * PAGE;
            let Some(until) = self.oldest_filling(lowest, step)? else {
                return Ok(dropped);
            };
            dropped.join(self.delete_in(lowest, &(0..=until))?);
            self.delete_gone_for(pages)?;
        }
    }

    /// The last of the oldest items that have so many bytes together.
    fn oldest_filling(&self, priority: Priority, bytes: u64) -> Result<Option<u64>, Fault> {
        const SIZES: [&str; Priority::COUNT] = per_priority!(
            concat!("SELECT sequence, ", size!(), " FROM "),
            " WHERE sequence > ?1 ORDER BY sequence"
        );
        let gone = self.tally.lanes[priority.index()].gone;
        let mut statement = self.statement(SIZES[priority.index()])?;
        let mut rows = statement.query([i64::try_from(gone).unwrap_or(i64::MAX)])?;
        let (mut found, mut sum) = (None, 0);
        while sum < bytes
            && let Some(row) = rows.next()?
        {
            let sequence: u64 = row.get(0)?;
            if priority != Priority::DEFAULT || Some(sequence) != self.tally.mark {
                found = Some(sequence);
                sum += row.get::<_, u64>(1)?;
            }
        }
        Ok(found)
    }
}

/// Where the appends of a transaction stand.
struct Append {
    now: Now,
    /// Pages.
    room: u64,
    estimate: Estimate,
    refused: std::iter::Peekable<std::vec::IntoIter<usize>>,
    /// How many items were looked at.
    place: usize,
}

impl Append {
    /// Whether the next item finds no room.
    fn refuses(&mut self, item: &NewItem, when_full: WhenFull) -> bool {
        let place = self.place;
        self.place += 1;
        match when_full {
            WhenFull::DropOldest => self.refused.next_if_eq(&place).is_some(),
            WhenFull::DropNewest => {
                let with_this = self.estimate.with(std::iter::once(item));
                let fits = with_this.pages() <= self.room;
                if fits {
                    self.estimate = with_this;
                }
                !fits
            }
            WhenFull::Reject => false,
        }
    }
}

fn counted(item: &NewItem) -> (crate::item::Route, Content) {
    let content = Content {
        items: 1,
        bytes: item.size() as u64,
    };
    (item.route.clone(), content)
}
