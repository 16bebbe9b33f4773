//! Collects events until a message is full.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::bounded::Bounded;
use crate::compact::Columns;
use crate::event::Measurement;
use crate::json::deeper_than;
use crate::opcua::{NetworkMessage, Writers};
use crate::{
    CLOUDEVENTS_BATCH, EVENT_BYTES, EVENT_COST, Encoding, Format, GZIP, JSON, TEXT_BYTES, UTF_8,
    gzip,
};

/// An event that goes deeper than this travels alone: nobody's JSON parser shall fail for its neighbours' sake.
const DEPTH: usize = 64;

/// The events of the next message. `T` is what the caller remembers of an event until the hub has confirmed it.
///
/// A batch has no clock: the caller finishes it when its oldest event has waited long enough.
/// It is used again after [`Batch::finish`], and remembers which numbers OPC UA writers were given.
#[derive(Debug)]
pub struct Batch<T> {
    encoding: Encoding,
    limit: usize,
    writers: Writers,
    items: Vec<T>,
    event_bytes: usize,
    tags: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// No event yet.
    Empty,
    Plain(Pieces),
    Compact(Box<Columns>, Bounded),
    Opcua(NetworkMessage, Pieces),
    /// A payload that takes no further event.
    Closed(Vec<u8>),
}

/// Text that waits until it is worth compressing, or until it must be.
#[derive(Debug)]
struct Pieces {
    bounded: Bounded,
    waiting: Vec<u8>,
}

/// A message ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished<T> {
    /// The body, never larger than the batch's limit.
    pub payload: Bytes,
    /// For the system property `$.ct`.
    pub content_type: &'static str,
    /// For the system property `$.ce`.
    pub content_encoding: &'static str,
    /// What was added with the events, in their order. All of them are delivered when the message is confirmed.
    pub items: Vec<T>,
    /// Tags of all measurements, good and bad. Not counted in `plain`.
    pub tags: usize,
}

/// An event that was not taken. The batch is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused<T> {
    /// What was to be remembered.
    pub item: T,
    /// The reason.
    pub why: Refusal,
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not fit in with what is there, or travels alone. Finish the batch and add it again.
    #[error("the message is full: finish it and add the event to the next one")]
    Full,
    /// It does not fit in a message of its own. It never will in this encoding: dead letter.
    #[error(
        "an event of {event} bytes makes a message of {message} bytes, the limit is {limit}: split it, or choose a smaller encoding"
    )]
    TooLarge {
        /// Bytes of the event.
        event: usize,
        /// Bytes of the smallest message that holds it.
        message: usize,
        /// The limit of the batch.
        limit: usize,
    },
    /// It is no JSON object: dead letter.
    #[error("not a JSON object: {0}")]
    NotJson(String),
}

impl Pieces {
    fn new(encoding: Encoding, limit: usize) -> Self {
        Self {
            bounded: Bounded::new(encoding.gzip, limit),
            waiting: Vec::new(),
        }
    }

    /// Takes a piece if there is room for it and for `end` bytes after it. What waits is compressed for it if it may be.
    fn add(&mut self, piece: &[u8], end: usize, compress: bool) -> bool {
        if self.bounded.text() + self.waiting.len() + piece.len() + end > TEXT_BYTES {
            return false;
        }
        if !self.bounded.fits(self.waiting.len() + piece.len() + end) {
            if self.waiting.is_empty() || !compress {
                return false;
            }
            self.bounded.push(&self.waiting);
            self.waiting.clear();
            if self.bounded.nearly_full() || !self.bounded.fits(piece.len() + end) {
                return false;
            }
        }
        self.waiting.extend_from_slice(piece);
        true
    }

    fn finish(mut self, end: &[u8]) -> Vec<u8> {
        self.waiting.extend_from_slice(end);
        self.bounded.finish(&self.waiting)
    }
}

impl<T> Batch<T> {
    /// An empty batch for payloads of at most `limit` bytes: what the hub takes less the message's properties.
    #[must_use]
    pub fn new(encoding: Encoding, limit: usize) -> Self {
        Self::with_writers(encoding, limit, Writers::default())
    }

    /// The same, with numbers of OPC UA writers that other batches use, too. Give all batches of a process the same ones.
    #[must_use]
    pub fn with_writers(encoding: Encoding, limit: usize, writers: Writers) -> Self {
        Self {
            encoding,
            limit,
            writers,
            items: Vec::new(),
            event_bytes: 0,
            tags: 0,
            body: Body::Empty,
        }
    }

    /// How events are encoded.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many events are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What was added so far.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Bytes of the events that were added so far, as they were given.
    #[must_use]
    pub fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// Adds a CloudEvent in JSON, and remembers `item` with it.
    ///
    /// An event that can be sent at all is always taken by an empty batch. So, after [`Refusal::Full`], finish the batch and add the event
    /// again; a second refusal is final.
    ///
    /// # Errors
    /// See [`Refusal`]. The batch is as it was.
    pub fn add(&mut self, event: &[u8], item: T) -> Result<(), Refused<T>> {
        match self.place(event) {
            Ok(tags) => {
                self.items.push(item);
                self.event_bytes += event.len();
                self.tags += tags;
                Ok(())
            }
            Err(why) => Err(Refused { item, why }),
        }
    }

    /// The message of all events that were added, or None if there are none. The batch is empty then.
    pub fn finish(&mut self) -> Option<Finished<T>> {
        let single = self.items.len() == 1;
        let (payload, batch) = match std::mem::replace(&mut self.body, Body::Empty) {
            Body::Empty => return None,
            Body::Plain(mut pieces) if single => {
                // The bracket of a batch is only written in front of the first event of several.
                pieces.waiting.remove(0);
                (pieces.finish(b""), false)
            }
            Body::Plain(pieces) => (pieces.finish(b"]"), true),
            Body::Compact(columns, bounded) => (columns.finish(bounded), false),
            Body::Opcua(message, pieces) => (pieces.finish(&message.end()), false),
            Body::Closed(payload) => (payload, false),
        };
        self.event_bytes = 0;
        Some(Finished {
            payload: Bytes::from(payload),
            content_type: if batch { CLOUDEVENTS_BATCH } else { JSON },
            content_encoding: if self.encoding.gzip { GZIP } else { UTF_8 },
            items: std::mem::take(&mut self.items),
            tags: std::mem::take(&mut self.tags),
        })
    }

    /// Puts an event into the body, and tells its tags.
    fn place(&mut self, event: &[u8]) -> Result<usize, Refusal> {
        if let Body::Closed(_) = self.body {
            return Err(Refusal::Full);
        }
        if event.len() > TEXT_BYTES - 1024 {
            return Err(Refusal::TooLarge {
                event: event.len(),
                message: event.len(),
                limit: self.limit,
            });
        }
        if self.event_bytes + event.len() + EVENT_COST * (self.items.len() + 1) > EVENT_BYTES {
            return Err(Refusal::Full);
        }
        match self.encoding.format {
            Format::Plain => {
                check(event)?;
                if deeper_than(event, DEPTH) {
                    return self.alone(event);
                }
                self.place_plain(event)
            }
            Format::Compact => self.place_compact(event),
            Format::OpcuaPubsub => self.place_opcua(event),
        }
    }

    fn place_plain(&mut self, event: &[u8]) -> Result<usize, Refusal> {
        let first = matches!(self.body, Body::Empty);
        if first {
            self.body = Body::Plain(Pieces::new(self.encoding, self.limit));
        }
        let Body::Plain(pieces) = &mut self.body else {
            return Err(Refusal::Full);
        };
        let mut piece = Vec::with_capacity(event.len() + 1);
        piece.push(if first { b'[' } else { b',' });
        piece.extend_from_slice(event);
        // A single event goes without brackets: the bracket in front is the room for the one behind.
        // While it is not known whether a second one follows, the first must stay as it is.
        if pieces.add(&piece, usize::from(!first), self.items.len() > 1) {
            return Ok(0);
        }
        if first {
            self.single(event.to_vec(), event.len())
        } else {
            Err(Refusal::Full)
        }
    }

    fn place_compact(&mut self, event: &[u8]) -> Result<usize, Refusal> {
        let measurement = Measurement::parse(event);
        if measurement.is_none() {
            check(event)?;
            if deeper_than(event, DEPTH) {
                return self.alone(event);
            }
        }
        let tags = measurement.as_ref().map_or(0, Measurement::tags);
        if matches!(self.body, Body::Empty) {
            let bounded = Bounded::new(self.encoding.gzip, self.limit);
            self.body = Body::Compact(Box::default(), bounded);
        }
        let Body::Compact(columns, bounded) = &mut self.body else {
            return Err(Refusal::Full);
        };
        if columns.add(measurement.as_ref(), event, bounded) {
            return Ok(tags);
        }
        if !self.items.is_empty() {
            return Err(Refusal::Full);
        }
        let mut columns = Columns::default();
        columns.add_unbounded(measurement.as_ref(), event);
        let text = columns.finish(Bounded::new(false, usize::MAX));
        self.single(text, event.len()).map(|_| tags)
    }

    fn place_opcua(&mut self, event: &[u8]) -> Result<usize, Refusal> {
        let Some(measurement) = Measurement::parse(event) else {
            check(event)?;
            return self.alone(event);
        };
        let tags = measurement.tags();
        match &mut self.body {
            Body::Opcua(message, pieces) => {
                let Some(piece) = message.data_set(&measurement, &self.writers, false) else {
                    return Err(Refusal::Full);
                };
                if pieces.add(&piece, message.end_bound(), true) {
                    message.added(&measurement);
                    return Ok(tags);
                }
                Err(Refusal::Full)
            }
            _ => {
                let mut message = NetworkMessage::new(&measurement);
                let piece = message
                    .data_set(&measurement, &self.writers, true)
                    .unwrap_or_default();
                message.added(&measurement);
                let mut pieces = Pieces::new(self.encoding, self.limit);
                if pieces.add(&piece, message.end_bound(), true) {
                    self.body = Body::Opcua(message, pieces);
                    return Ok(tags);
                }
                let mut text = piece;
                text.extend_from_slice(&message.end());
                self.single(text, event.len()).map(|_| tags)
            }
        }
    }

    /// An event that goes as it is, without others.
    fn alone(&mut self, event: &[u8]) -> Result<usize, Refusal> {
        if self.items.is_empty() {
            self.single(event.to_vec(), event.len())
        } else {
            Err(Refusal::Full)
        }
    }

    /// The text of a message with one event, which may be too large before it is compressed.
    fn single(&mut self, text: Vec<u8>, event: usize) -> Result<usize, Refusal> {
        let too_large = |message| Refusal::TooLarge {
            event,
            message,
            limit: self.limit,
        };
        if text.len() > TEXT_BYTES {
            self.body = Body::Empty;
            return Err(too_large(text.len()));
        }
        let length = text.len();
        let payload = if self.encoding.gzip {
            gzip::compress(&text)
        } else {
            Some(text)
        };
        match payload {
            Some(payload) if payload.len() <= self.limit => {
                self.body = Body::Closed(payload);
                Ok(0)
            }
            other => {
                self.body = Body::Empty;
                Err(too_large(other.map_or(length, |payload| payload.len())))
            }
        }
    }
}

/// Whether it is a JSON object. What is in it was checked when it was taken in.
fn check(event: &[u8]) -> Result<(), Refusal> {
    let value: &RawValue =
        serde_json::from_slice(event).map_err(|error| Refusal::NotJson(error.to_string()))?;
    if value.get().starts_with('{') {
        Ok(())
    } else {
        Err(Refusal::NotJson(
            "expected `{` at line 1 column 1".to_owned(),
        ))
    }
}
