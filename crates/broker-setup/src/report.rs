//! What a reconciliation found and did.

use std::fmt;

/// What a reconciliation found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was created: `stream fieldgate`, `consumer a-b of stream fieldgate`.
    pub created: Vec<String>,
    /// What was changed in place.
    pub updated: Vec<Update>,
    /// The planned streams, as they are now.
    pub streams: Vec<StreamState>,
    /// Every durable consumer of these streams, planned or not.
    pub consumers: Vec<ConsumerState>,
}

/// Something that differed from the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The stream or consumer.
    pub what: String,
    /// The fields that differed, in the broker's words.
    pub fields: Vec<&'static str>,
}

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// Bytes it takes.
    pub bytes: u64,
    /// Bytes it may take.
    pub max_bytes: u64,
    /// Events it holds.
    pub messages: u64,
}

/// How far a consumer has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub durable: String,
    /// Events that have not been delivered.
    pub pending: u64,
    /// Events that were delivered and not acknowledged.
    pub unacknowledged: u64,
    /// Unacknowledged events that were delivered more than once.
    pub redelivered: u64,
    /// Whether the plan has it. One that nobody reads any more fills an interest stream.
    pub planned: bool,
}

impl Report {
    /// Whether anything was created or updated.
    pub fn changed(&self) -> bool {
        !self.created.is_empty() || !self.updated.is_empty()
    }

    /// Consumers that nobody planned.
    pub fn unplanned(&self) -> impl Iterator<Item = &ConsumerState> {
        self.consumers.iter().filter(|consumer| !consumer.planned)
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fields.join(", "))
    }
}
