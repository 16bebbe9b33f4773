//! What is asked at a queue's socket, and what is answered.

use serde::{Deserialize, Serialize};

use crate::item::Item;
use crate::plan::{Plan, Purged};
use crate::selection::Selection;
use crate::status::Status;

/// Of this protocol. Goes up when either side could misunderstand the other.
pub const VERSION: u32 = 1;
/// The largest request, in bytes.
pub(crate) const MAX_REQUEST: usize = 16 << 10;
/// The largest answer, in bytes: an item of the largest size with all that is said of it.
pub(crate) const MAX_ANSWER: usize = 32 << 20;

/// A line to the one who has the queue open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What is wanted.
    pub command: Command,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// [`Answer::Status`].
    Status,
    /// [`Answer::Item`] for each, then [`Answer::End`].
    Items {
        /// Which.
        #[serde(default)]
        selection: Selection,
        /// With the events themselves.
        #[serde(default)]
        events: bool,
    },
    /// [`Answer::Plan`].
    Plan {
        /// Which.
        #[serde(default)]
        selection: Selection,
    },
    /// [`Answer::Purged`].
    Purge {
        /// Which. It must have `until`: nothing goes that was not counted before.
        selection: Selection,
        /// Who wants it, for the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// A line from the one who has the queue open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What the queue says of itself.
    Status(Box<Status>),
    /// An event.
    Item(Item),
    /// There are no more.
    End(End),
    /// What would go.
    Plan(Plan),
    /// What went.
    Purged(Purged),
    /// Why not, or not all.
    Error(String),
}

/// What was said of how many events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Items.
    pub items: u64,
    /// Rows that did not match their checksum while they were read, and were left out.
    pub damaged: u64,
    /// Items that are not JSON and were left out.
    pub not_json: u64,
}
