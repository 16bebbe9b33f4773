//! The durable outbound queue: SQLite, group commit, bounded by bytes; no MQTT, no Dapr.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use store_forward::{NewItem, Queue, QueueOptions, Sequence, WhenFull};
//!
//! let queue = Queue::open(QueueOptions::new("queue.db", 256 << 20, WhenFull::DropOldest))?;
//! let item = NewItem { key: "press-1".into(), id: "1".into(), payload: "{}".into(), ..NewItem::default() };
//! queue.append(vec![item]).await?; // safe on disk
//! for item in queue.read(Sequence::START, 64, 256 << 10).await? {
//!     // send it, then
//!     queue.remove(vec![item.sequence]).await?;
//! }
//! queue.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! All of it, numbered and with its limits, is in docs/reference/queue.md. In short:
//!
//! * What [`Queue::append`] acknowledged is synced to disk. It is read in the order of its sequence numbers until it is
//!   removed, dropped by a bound, or its lifetime is over, across crashes and power cuts.
//! * Each of ten priorities is a queue of its own: [`Queue::read_priority`] looks at no item of another one.
//! * A lifetime is counted by a clock that no setting of the time moves (`age.rs`).
//! * Every row carries a CRC-32 of its number and all its parts, and another one of priority, route and lifetime. What does not
//!   match them is never delivered.
//! * Sequence numbers are never used twice.
//! * Whatever is lost is counted in [`QueueStats`], with these exceptions. Of a write-ahead log with more damage than a flipped
//!   bit here and there, [`QueueStats::corrupt_files`] counts that commits are lost, and nothing how many items; the very last
//!   commit before a crash, damaged like this, cannot be told from one that a power cut interrupted. Of a page of which nothing
//!   can be read any more, [`QueueStats::corrupt_rows`] counts the numbers that are missing where it was: too many, if some of
//!   these had left the queue before. And of a file with more than 256 MiB in use only the rows are checked at opening, not the
//!   structure, so damage that hides a row may go unseen.
//! * A file that is damaged does not stop the queue: it is set aside, what is readable is kept.
//! * A full disk fails appends, which are to be tried again; the queue goes on by itself when there is room.
//!
//! # Space
//!
//! `max_bytes` bounds what the queue takes of the disk: database, its free pages, and write-ahead log. A quarter, at most
//! 16 MiB, is set aside for the log. Free pages are used again at once; when nearly all of the database is free it is made as
//! small as its content (`compaction.rs`). Beside it lie `PATH.lock` with at most one byte, and after damage one copy of the damaged
//! database (`PATH.damaged-UNIXTIME`) or log (`PATH-wal.damaged`): after damage the queue takes up to twice `max_bytes`.
//!
//! # Group commit
//!
//! Appends and removals that come within `commit_delay` share one transaction and one sync, up to `commit_items` and
//! `commit_bytes`. A group that is at least half of `commit_items` does not wait further when as many callers are in
//! it as were in the one before, so callers that wait for their answer before they come again are not held up. The size of a
//! group decides what is written: each rewrites the page that the one before began, and the pages above. While
//! [nobody reads](Queue::nobody_reads) a group waits twice as long, or until it is full.
//!
//! # Schema versions
//!
//! An update that is taken back starts the older release on the file that the newer one left. A newer release stores with
//! each step, in the table `way_back` of the file, the SQL that undoes it. An older one that opens the file reads it (at
//! most 1 MiB, every step there, each with its CRC-32), runs it in one transaction, without the right to do anything but
//! change tables and rows of this file, and goes on if the tables are then its own to the letter. Otherwise the file stays
//! as it is, for the newer release, and opening fails with [`OpenError::NewerSchema`]. What the older layout has no place
//! for is counted in [`QueueStats::dropped_downgrade`]. Either direction may write every row anew: the database may grow to
//! three times its bound meanwhile, the log beside it; afterwards the bound holds again. Without room on the disk opening
//! fails and may be tried again.
//!
//! For whoever makes the next version, in `schema.rs`:
//!
//! * A step is never changed once it was released; the text of its `back` may be: files are put right when they are opened.
//! * `undo` leads to the tables of the version before, to the letter. `ALTER TABLE … DROP COLUMN` does that for a column that was
//!   added; a table that is to come back is created under its own name, because renaming changes its text.
//! * `gone` says which rows no longer count (`gone.rs`): an `undo` leaves them out.
//! * Row numbers, `checksum` and the mark (`enqueued` -1) mean for ever what they mean in version 1: the older release
//!   verifies them. A new column gets a checksum of its own.
//! * `undo` also meets damaged rows. One that a constraint refuses stops the whole way: leave it out, and count it.
//! * `lost` counts the items that `undo` leaves out, and says why in words.
//! * The first page of every file of a version is the same (`header.rs`): the schema fits on it, and all tables and indexes are
//!   where a fresh file has them. A file where they are not is written anew when it is opened. The form of `way_back` stays.
//! * The tests in `way_back/tests.rs` go up and down through versions that do not exist; let them go through the new one.
//!
//! # Inspection
//!
//! The file is locked while it is open. [`files`] says what can be seen of it from outside, [`copy`] makes a sound copy of it, open or
//! not, which can be opened as a queue of its own.

mod admission;
mod age;
mod anchor;
mod command;
mod compaction;
mod copy;
mod damage;
mod error;
mod expiry;
mod fault;
mod folder;
mod gone;
mod group;
mod header;
mod item;
mod leaf;
mod lock;
mod log;
mod log_checksum;
mod note;
mod open;
mod options;
mod pages;
mod queue;
mod read;
mod row;
mod salvage;
mod schema;
mod space;
mod stats;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod tree;
mod way_back;
mod writer;

pub use age::{Clock, Reading, SystemClock};
pub use copy::{CopyError, Files, Held, LAYOUT, copy, files};
pub use error::{AppendError, OpenError, QueueError};
pub use item::{Found, NewItem, Priority, Route, Sequence, StoredItem};
pub use options::{QueueOptions, WhenFull};
pub use queue::Queue;
pub use stats::{DropReason, Dropped, Flow, PriorityStats, QueueStats};
