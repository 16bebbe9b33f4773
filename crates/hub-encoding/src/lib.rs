//! Several events in one hub message, and back: plain, compact, OPC UA PubSub JSON, each with or without gzip; no I/O.
//!
//! ```
//! use hub_encoding::{Batch, Encoding, Format, Message, decode};
//!
//! let event = |n: u32| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/x","type":"t","data":{n}}}"#);
//! let mut batch = Batch::new(Encoding { format: Format::Compact, gzip: true }, 200 * 1024);
//! for n in 0..3 {
//!     // `n` stands for what the caller wants to remember of an event, for example its place in a queue
//!     batch.add(event(n).as_bytes(), n).unwrap();
//! }
//! let sent = batch.finish().unwrap();
//! assert_eq!(sent.items, [0, 1, 2]);
//! let Message::Events(events) = decode(&sent.payload).unwrap() else { panic!() };
//! assert_eq!(events[2], event(2));
//! ```
//!
//! What the bytes mean is written in `docs/reference/encodings.md`, why they are so in `docs/decisions/0019-encodings.md`.
//!
//! # What is promised
//!
//! * A payload is never larger than the limit a [`Batch`] was made with. Set it to what IoT Hub takes (262,144 bytes) less the message's
//!   properties, with room for [`Finished::content_type`] and [`Finished::content_encoding`].
//! * The events of a message come out in the order in which they were added. `plain` and `compact` lose nothing: the decoded events are
//!   equal to the added ones, as JSON, with every number digit for digit.
//! * The same events added to a new batch make the same bytes.
//! * No input makes the decoder panic, and its memory is bounded: [`TEXT_BYTES`] bounds what it unpacks, [`EVENT_BYTES`] what it gives back,
//!   and the most hostile of sixteen texts of that size made it use 150 MiB. No batch makes a message above these bounds.

mod batch;
mod bounded;
mod compact;
mod decode;
mod event;
mod gzip;
mod json;
mod opcua;

pub use batch::{Batch, Finished, Refusal, Refused};
pub use decode::{DecodeError, Message, decode};
pub use opcua::{DataSet, Field, StatusCode, Writers};

/// Largest JSON text of one message, after gzip is undone.
pub const TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of the events of one message together, as single JSON documents and with 32 bytes each for what a list of them costs.
pub const EVENT_BYTES: usize = 16 * 1024 * 1024;
pub(crate) const EVENT_COST: usize = 32;

/// How events become the payload of a hub message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Encoding {
    /// The form of the JSON text.
    pub format: Format,
    /// Whether the text is compressed (RFC 1952). IoT Hub cannot route by a compressed body.
    pub gzip: bool,
}

/// The form of the JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// One event as it is; several as a batch of CloudEvents, a JSON array of the events as they are.
    #[default]
    Plain,
    /// Columns: names once per message, differences instead of values. Nothing is lost.
    Compact,
    /// A NetworkMessage of OPC UA Part 14 (1.05), JSON mapping. Carries measurements only, and not all of an event's attributes.
    OpcuaPubsub,
}

impl Format {
    /// Every format once.
    pub const ALL: [Format; 3] = [Format::Plain, Format::Compact, Format::OpcuaPubsub];

    /// The word in a configuration: `plain`, `compact`, `opcua-pubsub-json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Compact => "compact",
            Format::OpcuaPubsub => "opcua-pubsub-json",
        }
    }

    /// The format of a word in a configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

/// Content type of JSON that IoT Hub can route by.
pub(crate) const JSON: &str = "application/json";
/// Content type of a JSON array of CloudEvents (CloudEvents 1.0.2, JSON event format, section 4).
pub(crate) const CLOUDEVENTS_BATCH: &str = "application/cloudevents-batch+json";
/// Content encoding of text that is not compressed, as IoT Hub wants it for routing by the body.
pub(crate) const UTF_8: &str = "utf-8";
/// Content encoding of compressed text (RFC 9110, section 8.4.1.3).
pub(crate) const GZIP: &str = "gzip";
