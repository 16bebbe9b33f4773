//! The durable outbound queue: SQLite, group commit, bounded by bytes; no MQTT, no Dapr.

mod command;
mod error;
mod item;
mod options;
mod queue;
mod space;
mod stats;
mod store;
mod writer;

pub use error::{AppendError, OpenError, QueueError};
pub use item::{NewItem, Sequence, StoredItem};
pub use options::{QueueOptions, WhenFull};
pub use queue::Queue;
pub use stats::QueueStats;
