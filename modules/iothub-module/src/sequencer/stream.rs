//! One stream of the sequencer.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::gaps::Gaps;
use super::{Admission, Limits, Outcome, Ticket};

#[derive(Debug)]
struct Held<T> {
    item: T,
    bytes: usize,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) key: Box<str>,
    /// The highest admitted sequence; none before the first contact has settled.
    last: Option<u64>,
    /// Below this nothing is known: no event there is called a duplicate.
    certain_from: u64,
    gaps: Gaps,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    /// Admitted, fate not yet known.
    pub(super) pending: BTreeSet<u64>,
    /// The highest sequence that went back to the broker, and until when it is awaited.
    returned: Option<(u64, Instant)>,
    /// When something that waits may have to pass (never later than the truth), and under which time the sequencer lists it.
    pub(super) deadline: Option<Instant>,
    pub(super) listed: Option<Instant>,
    pub(super) used: u64,
}

/// What a stream knows for certain, as it is kept over a restart: from `certain_from` to `last` everything is stored, but for the gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certainty {
    pub(super) last: u64,
    pub(super) certain_from: u64,
    pub(super) gaps: Gaps,
}

impl<T> Stream<T> {
    pub(super) fn new(key: Box<str>) -> Self {
        Self {
            key,
            last: None,
            certain_from: u64::MAX,
            gaps: Gaps::default(),
            held: BTreeMap::new(),
            held_bytes: 0,
            pending: BTreeSet::new(),
            returned: None,
            deadline: None,
            listed: None,
            used: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.pending.is_empty()
    }

    /// Events and bytes that wait.
    pub(super) fn held_size(&self) -> (usize, usize) {
        (self.held.len(), self.held_bytes)
    }

    #[allow(clippy::too_many_arguments, reason = "one call, from the sequencer")]
    pub(super) fn arrive(
        &mut self,
        id: u64,
        sequence: u64,
        bytes: usize,
        item: T,
        now: Instant,
        limits: Limits,
        out: &mut Vec<Outcome<T>>,
    ) {
        match self.last {
            // Not a sequence our modules use, and nothing can be said about it.
            _ if sequence == 0 => self.admit(id, sequence, item, Admission::Late, out),
            Some(last) if sequence <= last => self.arrive_behind(id, sequence, item, limits, out),
            Some(last) if sequence - 1 == last => {
                self.pass(id, sequence, item, Admission::InOrder, limits, out)
            }
            // Every epoch starts at 1, so nothing can be missing before it.
            None if sequence == 1 => self.pass(id, sequence, item, Admission::InOrder, limits, out),
            _ => self.hold(sequence, bytes, item, now, limits, out),
        }
    }

    /// Passes everything up to the highest event whose wait is over.
    pub(super) fn expire(
        &mut self,
        id: u64,
        now: Instant,
        limits: Limits,
        out: &mut Vec<Outcome<T>>,
    ) {
        let awaited = match (self.returned, self.last) {
            (Some((highest, until)), Some(last)) if last < highest && now < until => Some(until),
            _ => None,
        };
        if let Some(until) = awaited {
            self.deadline = Some(until);
            return;
        }
        self.returned = None;
        let over = self
            .held
            .iter()
            .rev()
            .find(|(_, held)| held.since + limits.reorder_wait <= now)
            .map(|(&sequence, _)| sequence);
        if let Some(over) = over {
            while self
                .held
                .first_key_value()
                .is_some_and(|(&sequence, _)| sequence <= over)
            {
                self.pass_lowest(id, limits, out);
            }
        }
        self.deadline = self.earliest(limits);
    }

    /// Passes the lowest event that waits, and what follows it without a gap.
    pub(super) fn pass_lowest(&mut self, id: u64, limits: Limits, out: &mut Vec<Outcome<T>>) {
        if let Some((sequence, held)) = self.held.pop_first() {
            self.held_bytes -= held.bytes;
            self.pass(id, sequence, held.item, Admission::AfterGap, limits, out);
        }
        if self.held.is_empty() {
            self.deadline = None;
        }
    }

    /// Takes out the last event that waits.
    pub(super) fn give_up_highest(&mut self) -> Option<T> {
        let (_, held) = self.held.pop_last()?;
        self.held_bytes -= held.bytes;
        if self.held.is_empty() {
            self.deadline = None;
        }
        Some(held.item)
    }

    /// An admitted event went back to the broker. If nothing behind it was admitted, the stream waits there again, so that order is kept.
    pub(super) fn returned(&mut self, sequence: u64, now: Instant, limits: Limits) {
        if !self.pending.remove(&sequence) {
            return;
        }
        let highest = self
            .returned
            .map_or(sequence, |(highest, _)| highest.max(sequence));
        self.returned = Some((highest, now + limits.redelivery_wait));
        if sequence < self.certain_from {
            return;
        }
        self.gaps.insert(sequence, sequence);
        while let Some(first) = self.last.and_then(|last| self.gaps.pop_ending_at(last)) {
            self.last = Some(first.saturating_sub(1));
        }
        self.bound_gaps(limits);
    }

    /// What is certain of it; None when nothing is. What is pending counts as not stored.
    pub(super) fn certainty(&self) -> Option<Certainty> {
        let mut last = self.last?;
        while last > 0 && last >= self.certain_from && self.pending.contains(&last) {
            last -= 1;
        }
        let mut gaps = self.gaps.clone();
        for &sequence in &self.pending {
            if sequence >= self.certain_from && sequence < last {
                gaps.insert(sequence, sequence);
            }
        }
        Some(Certainty {
            last,
            certain_from: self.certain_from,
            gaps,
        })
    }

    /// A stream of which nothing waits and nothing is pending.
    pub(super) fn from_certainty(key: Box<str>, certainty: Certainty, used: u64) -> Self {
        Self {
            last: Some(certainty.last),
            certain_from: certainty.certain_from,
            gaps: certainty.gaps,
            used,
            ..Self::new(key)
        }
    }

    pub(super) fn skipped(&mut self, sequence: u64, limits: Limits) {
        if self.pending.remove(&sequence) && sequence >= self.certain_from {
            self.gaps.insert(sequence, sequence);
            self.bound_gaps(limits);
        }
    }

    fn arrive_behind(
        &mut self,
        id: u64,
        sequence: u64,
        item: T,
        limits: Limits,
        out: &mut Vec<Outcome<T>>,
    ) {
        if self.pending.contains(&sequence) {
            out.push(Outcome::Copy(item));
        } else if self.gaps.remove(sequence) || sequence < self.certain_from {
            self.bound_gaps(limits);
            self.admit(id, sequence, item, Admission::Late, out);
        } else {
            out.push(Outcome::Duplicate(item));
        }
    }

    fn hold(
        &mut self,
        sequence: u64,
        bytes: usize,
        item: T,
        now: Instant,
        limits: Limits,
        out: &mut Vec<Outcome<T>>,
    ) {
        let since = self.held.get(&sequence).map_or(now, |held| held.since);
        self.held_bytes += bytes;
        if let Some(old) = self.held.insert(sequence, Held { item, bytes, since }) {
            // The newer copy stays: the older one may belong to a connection that is gone.
            self.held_bytes -= old.bytes;
            out.push(Outcome::Copy(old.item));
        }
        let latest = now + limits.reorder_wait;
        self.deadline = Some(
            self.deadline
                .map_or(latest, |deadline| deadline.min(latest)),
        );
    }

    /// Admits `sequence`, which is above all admitted ones, and whatever follows it without a gap.
    fn pass(
        &mut self,
        id: u64,
        sequence: u64,
        item: T,
        how: Admission,
        limits: Limits,
        out: &mut Vec<Outcome<T>>,
    ) {
        match self.last {
            None => self.certain_from = sequence,
            Some(last) => {
                self.gaps.insert(last + 1, sequence - 1);
                self.bound_gaps(limits);
            }
        }
        self.admit(id, sequence, item, how, out);
        let mut last = sequence;
        while let Some(held) = last.checked_add(1).and_then(|next| self.held.remove(&next)) {
            last += 1;
            self.held_bytes -= held.bytes;
            self.admit(id, last, held.item, Admission::Reordered, out);
        }
        self.last = Some(last);
        if self.returned.is_some_and(|(highest, _)| highest <= last) {
            self.returned = None;
            self.deadline = self.earliest(limits);
        }
        if self.held.is_empty() {
            self.deadline = None;
        }
    }

    fn earliest(&self, limits: Limits) -> Option<Instant> {
        self.held
            .values()
            .map(|held| held.since + limits.reorder_wait)
            .min()
    }

    fn admit(
        &mut self,
        id: u64,
        sequence: u64,
        item: T,
        how: Admission,
        out: &mut Vec<Outcome<T>>,
    ) {
        self.pending.insert(sequence);
        let ticket = Ticket {
            stream: id,
            sequence,
        };
        out.push(Outcome::Admit { item, how, ticket });
    }

    pub(super) fn bound_gaps(&mut self, limits: Limits) {
        if let Some(forgotten) = self.gaps.forget_beyond(limits.gaps_per_stream) {
            self.certain_from = self.certain_from.max(forgotten.saturating_add(1));
        }
    }
}
