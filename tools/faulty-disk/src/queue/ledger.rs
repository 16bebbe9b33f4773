//! What the queue has acknowledged, against what is in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use store_forward::{Queue, QueueError, QueueStats, Sequence, StoredItem};

use crate::queue::item::{id_of, is_whole};
use crate::queue::report::Report;
use crate::queue::worker::TASKS;

/// What was wrong with a queue, as counts. All zero: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Items that were acknowledged, not removed, and are not there.
    pub missing: u64,
    /// Items with other bytes than they were stored with.
    pub wrong: u64,
    /// Items that are there again after their removal was acknowledged.
    pub returned: u64,
    /// Items that are there twice, or a sequence number that was used twice.
    pub doubled: u64,
    /// Items behind others that were appended later.
    pub disordered: u64,
    /// Counters of the queue that do not match what is in it or what happened to it.
    pub miscounted: u64,
}

impl Verdict {
    /// Nothing was wrong.
    pub fn is_sound(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.returned += other.returned;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.miscounted += other.miscounted;
    }
}

/// What a worker's reports and the checks before promise of a queue.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Sequence to number of what must be there.
    stored: BTreeMap<u64, u64>,
    /// What may be there or not.
    removing: BTreeSet<u64>,
    /// What must not be there.
    removed: BTreeSet<u64>,
    /// The last sequence number before the worker began.
    last: u64,
    /// Two reports that exclude each other.
    doubled: u64,
    /// Appends and removals acknowledged, ever.
    pub(crate) acknowledged: u64,
    pub(crate) removals: u64,
    /// Items found that nobody had been told of: their commit was done, its acknowledgement was not.
    pub(crate) untold: u64,
}

impl Ledger {
    /// Takes down what a worker said.
    pub fn note(&mut self, report: &Report) {
        match report {
            Report::Stored { ids, sequences } => {
                self.acknowledged += ids.len() as u64;
                for (sequence, id) in sequences.iter().zip(ids) {
                    let before = self.stored.insert(*sequence, *id);
                    if before.is_some() || *sequence <= self.last {
                        self.doubled += 1;
                    }
                }
                self.doubled += ids.len().abs_diff(sequences.len()) as u64;
            }
            Report::Removing(sequences) => self.removing.extend(sequences),
            Report::Removed(sequences) => {
                self.removals += sequences.len() as u64;
                for sequence in sequences {
                    self.removing.remove(sequence);
                    self.removed.insert(*sequence);
                    self.stored.remove(sequence);
                }
            }
            Report::Opened | Report::CannotOpen(_) | Report::Failed(_) => {}
        }
    }

    /// Forgets what was promised, not what was counted.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self {
            acknowledged: self.acknowledged,
            removals: self.removals,
            untold: self.untold,
            ..Self::default()
        };
    }

    /// Compares a queue that was just opened with what was promised. What is found counts as promised from here on.
    pub fn check(&mut self, found: &[StoredItem], stats: &QueueStats) -> (Verdict, Vec<String>) {
        let mut verdict = Verdict {
            doubled: std::mem::take(&mut self.doubled),
            ..Verdict::default()
        };
        let mut words = Vec::new();
        let mut seen = BTreeMap::new();
        let mut ids = BTreeSet::new();
        let mut newest = BTreeMap::new();
        let mut before = 0;
        for item in found {
            let sequence = item.sequence.0;
            if sequence <= before {
                verdict.disordered += 1;
                words.push(format!("{sequence} comes after {before}"));
            }
            before = sequence;
            let Some(id) = id_of(item).filter(|_| is_whole(item)) else {
                verdict.wrong += 1;
                words.push(format!("{sequence} is not what was stored: id {}", item.id));
                continue;
            };
            seen.insert(sequence, id);
            if !ids.insert(id) {
                verdict.doubled += 1;
                words.push(format!("item {id} is there again at {sequence}"));
            }
            let newest = newest.entry(id % TASKS).or_insert(id);
            if id < *newest {
                verdict.disordered += 1;
                words.push(format!("item {id} at {sequence} comes after item {newest}"));
            }
            *newest = id;
            match self.stored.get(&sequence) {
                Some(promised) if *promised == id => {}
                Some(promised) => {
                    verdict.doubled += 1;
                    words.push(format!("{sequence} is item {id} and was item {promised}"));
                }
                None if self.removed.contains(&sequence) || sequence <= self.last => {
                    verdict.returned += 1;
                    words.push(format!("{sequence} (item {id}) had been removed"));
                }
                None => self.untold += 1,
            }
        }
        for (sequence, id) in &self.stored {
            if !seen.contains_key(sequence) && !self.removing.contains(sequence) {
                verdict.missing += 1;
                words.push(format!("{sequence} (item {id}) is missing"));
            }
        }
        let bytes: u64 = found.iter().map(|item| item.size() as u64).sum();
        let counted = [
            ("depth", stats.depth, found.len() as u64),
            ("payload_bytes", stats.payload_bytes, bytes),
            ("corrupt_rows", stats.corrupt_rows, 0),
            ("corrupt_files", stats.corrupt_files, 0),
            ("dropped_oldest", stats.dropped_oldest, 0),
            ("storage_errors", stats.storage_errors, 0),
        ];
        for (name, counter, is) in counted {
            if counter != is {
                verdict.miscounted += 1;
                words.push(format!("{name} is {counter} and must be {is}: {stats:?}"));
            }
        }
        let last = self.stored.last_key_value().map_or(0, |(last, _)| *last);
        self.last = self.last.max(before).max(last);
        self.last = self.last.max(self.removed.last().copied().unwrap_or(0));
        self.stored = seen;
        self.removing.clear();
        self.removed.clear();
        (verdict, words)
    }
}

/// Everything in a queue.
///
/// # Errors
///
/// What the queue says.
pub async fn read_all(queue: &Queue) -> Result<Vec<StoredItem>, QueueError> {
    let mut all: Vec<StoredItem> = Vec::new();
    loop {
        let after = all.last().map_or(Sequence::START, |last| last.sequence);
        let mut items = queue.read(after, 256, 1 << 20).await?;
        if items.is_empty() {
            return Ok(all);
        }
        all.append(&mut items);
    }
}
