//! Puts the events of each stream back into the order of their `sequence`, in front of the queue.
//!
//! Dapr delivers in parallel, so events of one stream (source, subject, epoch) arrive a little out of order, and more than once when an
//! acknowledgement was lost. The sequencer is a pure state machine: no I/O, and the time is passed in. Its rules, strongest first:
//!
//! 1. Nothing is lost: an event is called a duplicate only when it is certain that it was stored. In doubt it passes.
//! 2. Order: an event that is early waits, unacknowledged, up to [`Limits::reorder_wait`] for those before it.
//! 3. Everything is bounded: events and bytes that wait, streams, and skipped ranges per stream. What finds no room to wait goes back to the
//!    broker, which brings it again; so the bounds cost deliveries, and not the order.
//!
//! An admitted event is *pending* until the caller says [`Sequencer::stored`], [`Sequencer::returned`] or [`Sequencer::skipped`]; a copy that comes meanwhile is
//! neither stored nor acknowledged, because the broker may take one acknowledgement for both copies.

mod gaps;
mod note;
mod stream;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

pub use note::NoteError;
use stream::Stream;

/// The bounds of a [`Sequencer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long an early event waits for those before it: longer than the broker takes to deliver again what nobody answered.
    pub reorder_wait: Duration,
    /// How long a stream waits for events that were given back to the broker ([`Sequencer::returned`]).
    pub redelivery_wait: Duration,
    /// Early events that wait, over all streams. Of one more, the last of its stream goes back to the broker.
    pub held_events: usize,
    /// Bytes of the events that wait, over all streams.
    pub held_bytes: usize,
    /// Streams remembered. The one unused for longest is forgotten, unless something of it waits or is pending.
    pub streams: usize,
    /// Skipped ranges remembered per stream; the lowest is forgotten, after which events below pass without a check.
    pub gaps_per_stream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reorder_wait: Duration::from_secs(10),
            redelivery_wait: Duration::from_secs(10),
            held_events: 1000,
            held_bytes: 2 << 20,
            streams: 4096,
            gaps_per_stream: 64,
        }
    }
}

/// Which event it is. Sequences start at 1; an event without one does not belong in a sequencer.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    /// CloudEvents `source`.
    pub source: &'a str,
    /// CloudEvents `subject`, empty when absent.
    pub subject: &'a str,
    /// Epoch of the publishing module's start.
    pub epoch: &'a str,
    /// From 1.
    pub sequence: u64,
}

/// Names an admitted event until its fate is known. A ticket of a forgotten stream is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    stream: u64,
    sequence: u64,
}

/// Why an event was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It was the next one.
    InOrder,
    /// It was early, waited, and those before it came.
    Reordered,
    /// It was early and waited long enough; those before it are remembered as skipped.
    AfterGap,
    /// Those after it went first; it fills a skipped range or comes from where nothing is known.
    Late,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Store it, then answer with the ticket.
    Admit {
        /// The event.
        item: T,
        /// Why.
        how: Admission,
        /// For [`Sequencer::stored`] or [`Sequencer::returned`].
        ticket: Ticket,
    },
    /// It is stored already: acknowledge it.
    Duplicate(T),
    /// A copy of it waits or is being stored: do not acknowledge, the broker will bring it again.
    Copy(T),
    /// It would have to wait, and there is no room: do not acknowledge, the broker will bring it again.
    NoRoom(T),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Sequencer<T> {
    limits: Limits,
    index: HashMap<Box<str>, u64>,
    streams: HashMap<u64, Stream<T>>,
    /// Streams in which something waits, by the time it was promised to pass at the latest.
    waiting: BTreeSet<(Instant, u64)>,
    held_events: usize,
    held_bytes: usize,
    next_stream: u64,
    uses: u64,
    key: String,
}

impl<T> Sequencer<T> {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: HashMap::new(),
            streams: HashMap::new(),
            waiting: BTreeSet::new(),
            held_events: 0,
            held_bytes: 0,
            next_stream: 0,
            uses: 0,
            key: String::new(),
        }
    }

    /// New bounds; they hold for what comes, and for what waits at its next deadline.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Events that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held_events
    }

    /// Streams remembered.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// When [`Self::expire`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.first().map(|&(at, _)| at)
    }

    /// An event came. What is to be done, also with events that waited for it, is pushed to `out` in order.
    pub fn arrive(
        &mut self,
        position: Position<'_>,
        bytes: usize,
        item: T,
        now: Instant,
        out: &mut Vec<Outcome<T>>,
    ) {
        let id = self.find_or_make(&position);
        self.uses += 1;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.used = self.uses;
        let before = stream.held_size();
        stream.arrive(id, position.sequence, bytes, item, now, self.limits, out);
        self.settle(id, before);
        self.keep_bounds(id, out);
    }

    /// Lets pass what has waited long enough.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Outcome<T>>) {
        while let Some(&(at, id)) = self.waiting.first() {
            if at > now {
                break;
            }
            let Some(stream) = self.streams.get_mut(&id) else {
                self.waiting.pop_first();
                continue;
            };
            let before = stream.held_size();
            stream.expire(id, now, self.limits, out);
            self.settle(id, before);
        }
    }

    /// The event is durable. Only from now on a copy of it is a duplicate.
    pub fn stored(&mut self, ticket: Ticket) {
        if let Some(stream) = self.streams.get_mut(&ticket.stream) {
            stream.pending.remove(&ticket.sequence);
        }
    }

    /// The event could not be stored and was given back to the broker: it will come again, and is awaited for [`Limits::redelivery_wait`].
    pub fn returned(&mut self, ticket: Ticket, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&ticket.stream) {
            stream.returned(ticket.sequence, now, self.limits);
        }
    }

    /// The event was not stored and is not awaited: it was handled in another way, or may come again. A copy of it passes.
    pub fn skipped(&mut self, ticket: Ticket) {
        if let Some(stream) = self.streams.get_mut(&ticket.stream) {
            stream.skipped(ticket.sequence, self.limits);
        }
    }

    fn find_or_make(&mut self, position: &Position<'_>) -> u64 {
        self.key.clear();
        let Position {
            source,
            subject,
            epoch,
            ..
        } = *position;
        // The lengths keep ("a", "bc") and ("ab", "c") apart.
        let _ = write!(
            self.key,
            "{}:{}:{source}{subject}{epoch}",
            source.len(),
            subject.len()
        );
        if let Some(&id) = self.index.get(self.key.as_str()) {
            return id;
        }
        if self.streams.len() >= self.limits.streams {
            self.forget_one();
        }
        self.next_stream += 1;
        let key: Box<str> = self.key.as_str().into();
        self.index.insert(key.clone(), self.next_stream);
        self.streams.insert(self.next_stream, Stream::new(key));
        self.next_stream
    }

    fn forget_one(&mut self) {
        let oldest = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.is_idle())
            .min_by_key(|(_, stream)| stream.used)
            .map(|(&id, _)| id);
        if let Some(stream) = oldest.and_then(|id| self.streams.remove(&id)) {
            self.index.remove(&stream.key);
        }
    }

    /// Brings the sums and the list of waiting streams up to date after a stream changed.
    fn settle(&mut self, id: u64, before: (usize, usize)) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let after = stream.held_size();
        self.held_events = self.held_events + after.0 - before.0;
        self.held_bytes = self.held_bytes + after.1 - before.1;
        if stream.listed != stream.deadline {
            if let Some(at) = stream.listed {
                self.waiting.remove(&(at, id));
            }
            if let Some(at) = stream.deadline {
                self.waiting.insert((at, id));
            }
            stream.listed = stream.deadline;
        }
    }

    /// After an event of stream `id` began to wait. What is lowest in its stream keeps its place, because the others wait for it; and since
    /// what waits passes after [`Limits::reorder_wait`], there is room again for what went back.
    fn keep_bounds(&mut self, id: u64, out: &mut Vec<Outcome<T>>) {
        while self.held_events > self.limits.held_events || self.held_bytes > self.limits.held_bytes
        {
            let alone = self.held_events == 1;
            let Some(stream) = self.streams.get_mut(&id) else {
                return;
            };
            let before = stream.held_size();
            if alone {
                // There will never be more room for it.
                stream.pass_lowest(id, self.limits, out);
            } else if let Some(item) = stream.give_up_highest() {
                out.push(Outcome::NoRoom(item));
            } else {
                return;
            }
            self.settle(id, before);
        }
    }
}

#[cfg(test)]
mod kills;
#[cfg(test)]
mod tests;
