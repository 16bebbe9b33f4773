//! The handle: an async front to the thread that owns the database.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{Command, Work, Write};
use crate::error::{AppendError, OpenError, QueueError};
use crate::item::{Found, NewItem, Priority, Sequence, StoredItem};
use crate::note::LONGEST;
use crate::options::QueueOptions;
use crate::read::{Selection, Wanted};
use crate::space::{Estimate, Space};
use crate::stats::{Counters, PriorityStats, QueueStats};
use crate::writer;

/// A handle to an open queue. Clones share it. The database closes when the last handle is gone or after
/// [`close`](Queue::close).
///
/// # Cancel safety
///
/// Every call may be cancelled at any await. A cancelled [`read`](Queue::read) has no effect. A cancelled
/// [`append`](Queue::append) or [`remove`](Queue::remove) was done wholly, in part or not at all, as if the process had
/// been killed in it: append the same items again (the same ids make a repetition known) or remove them again.
#[derive(Clone, Debug)]
pub struct Queue {
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    changed: watch::Receiver<Sequence>,
    space: Space,
    note: Arc<Mutex<Option<Bytes>>>,
    unread: Arc<AtomicBool>,
}

impl Queue {
    /// Opens the queue, and creates it if there is no file. Blocks: a queue left in disorder is read through once, which
    /// takes about a second per 256 MiB of backlog plus the disk's time to read it.
    ///
    /// A damaged file is renamed to `PATH.damaged-UNIXTIME` (only the newest one is kept), what is readable in it is
    /// copied into a fresh file, and the loss is counted in [`QueueStats`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an option out of range, the file in use (after five seconds of waiting for its owner to finish), a
    /// file of a newer release, or a folder that cannot be read or written.
    pub fn open(options: QueueOptions) -> Result<Self, OpenError> {
        options.check()?;
        let space = Space::new(options.max_bytes);
        let (commands, receiver) = mpsc::channel(options.commit_items.clamp(64, 1024));
        let counters = Arc::new(Counters::default());
        let unread = Arc::default();
        let started = writer::start(
            options,
            receiver,
            Arc::clone(&counters),
            Arc::clone(&unread),
        )?;
        Ok(Self {
            commands,
            counters,
            changed: started.changed,
            space,
            note: Arc::new(Mutex::new(started.note)),
            unread,
        })
    }

    /// Says whether nobody reads for now, because what is stored can go nowhere; false after opening. Then the time until
    /// something is stored matters to nobody but the caller of [`append`](Queue::append), and the size of a group
    /// decides what is written: groups wait twice [`commit_delay`](QueueOptions::commit_delay), or until they are full.
    pub fn nobody_reads(&self, now: bool) {
        self.unread.store(now, Relaxed);
    }

    /// Stores items at the end of the queue, in their order, and returns their sequence numbers once they are safe on
    /// disk (synced). Callers at the same time share commits; the items of one call stay in order, and calls that follow
    /// one another do, but items of parallel calls may lie between each other.
    ///
    /// More items than fit into one transaction (a sixteenth of `max_bytes`, at most 4 MiB) are stored in several: if a
    /// later one fails, the earlier ones stay, and appending all of them again stores those twice under new numbers.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. See [`Queue`] for cancel safety.
    pub async fn append(&self, items: Vec<NewItem>) -> Result<Vec<Sequence>, AppendError> {
        let limit = self.space.item_limit();
        if let Some(item) = items.iter().find(|item| item.size() > limit) {
            return Err(AppendError::TooLarge {
                id: item.id.clone(),
                bytes: item.size(),
                limit,
            });
        }
        let mut sequences = Vec::new();
        let mut rest = items;
        while !rest.is_empty() {
            let tail = rest.split_off(self.in_one_transaction(&rest));
            let (reply, answer) = oneshot::channel();
            self.write(Work::Append { items: rest, reply })
                .await
                .map_err(|Gone| AppendError::Closed)?;
            let mut stored = answer.await.map_err(|_| AppendError::Closed)??;
            if sequences.is_empty() {
                sequences = stored;
            } else {
                sequences.append(&mut stored);
            }
            rest = tail;
        }
        Ok(sequences)
    }

    /// Reads items of all priorities in the order of their sequence, from the first one after `after`: up to `max_items`, and
    /// up to `max_bytes` of [`StoredItem::size`], but at least one if there is one. An empty answer means that there is nothing
    /// after `after`. Items stay in the queue until they are removed.
    ///
    /// An item whose checksum does not hold is removed, counted and passed over; so is one whose lifetime is over.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn read(
        &self,
        after: Sequence,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredItem>, QueueError> {
        self.select_every_key(None, after, Sequence::END, max_items, max_bytes)
            .await
    }

    /// Reads items of one priority in the order of their sequence, after `after` and up to and with `until`; otherwise as
    /// [`read`](Queue::read). It looks at no item of another priority, and at none outside these bounds.
    ///
    /// With the number of the last item at some moment (see [`changed`](Queue::changed)) as the bound, one cursor per
    /// priority goes through what was there before, and another through what has come since. Whether such a range can hold
    /// anything, [`priority`](Queue::priority) tells without reading.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn read_priority(
        &self,
        priority: Priority,
        after: Sequence,
        until: Sequence,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredItem>, QueueError> {
        self.select_every_key(Some(priority), after, until, max_items, max_bytes)
            .await
    }

    /// Reads as [`read_priority`](Queue::read_priority), but only items of keys that are `wanted`. Looks at 4,096 rows at most,
    /// and says how far it came: an answer without items means that there are none up to there, not that there are none.
    ///
    /// An item that is not wanted is neither copied nor verified, only its key is read. Damage to a key may thus lead to another
    /// reader: one of them meets the row and removes it if together they want every key.
    ///
    /// `wanted` is called on the queue's thread, once or twice for each row that is looked at: it must be quick and must not
    /// panic.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn read_priority_of(
        &self,
        priority: Priority,
        after: Sequence,
        until: Sequence,
        max_items: usize,
        max_bytes: usize,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Found, QueueError> {
        self.select(Selection {
            priority: Some(priority),
            after,
            until,
            max_items,
            max_bytes,
            wanted: Some(Wanted(Box::new(wanted))),
        })
        .await
    }

    async fn select_every_key(
        &self,
        priority: Option<Priority>,
        after: Sequence,
        until: Sequence,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredItem>, QueueError> {
        let selection = Selection {
            priority,
            after,
            until,
            max_items,
            max_bytes,
            wanted: None,
        };
        Ok(self.select(selection).await?.items)
    }

    async fn select(&self, selection: Selection) -> Result<Found, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Read { selection, reply })
            .await
            .map_err(|_| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    /// Removes items, in any order; those that are not in the queue (any more) are passed over. Returns once the removal
    /// is on disk; it shares commits with appends. After a crash before that the items are there again.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn remove(&self, sequences: Vec<Sequence>) -> Result<(), QueueError> {
        let mut ranges = ranges(sequences);
        while !ranges.is_empty() {
            let tail = self.space.cut_removal(&mut ranges, self.counters.tables());
            let (reply, answer) = oneshot::channel();
            self.write(Work::Remove { ranges, reply })
                .await
                .map_err(|Gone| QueueError::Closed)?;
            answer.await.map_err(|_| QueueError::Closed)??;
            ranges = tail;
        }
        Ok(())
    }

    /// Takes items out that were not sent: as [`remove`](Queue::remove), but they are counted as dropped, with
    /// [`DropReason::Purged`](crate::DropReason::Purged). Gives how many were still there.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn purge(&self, sequences: Vec<Sequence>) -> Result<u64, QueueError> {
        let mut ranges = ranges(sequences);
        let mut purged = 0;
        while !ranges.is_empty() {
            let tail = self.space.cut_removal(&mut ranges, self.counters.tables());
            let (reply, answer) = oneshot::channel();
            self.write(Work::Purge { ranges, reply })
                .await
                .map_err(|Gone| QueueError::Closed)?;
            purged += answer.await.map_err(|_| QueueError::Closed)??;
            ranges = tail;
        }
        Ok(purged)
    }

    /// Writes something that nobody reads, and returns once it is safe on disk (synced): tells whether the queue would take an
    /// item now, where none comes for long.
    ///
    /// # Errors
    ///
    /// [`QueueError`]. See [`Queue`] for cancel safety.
    pub async fn trial_write(&self) -> Result<(), QueueError> {
        let (reply, answer) = oneshot::channel();
        self.write(Work::Trial { reply })
            .await
            .map_err(|Gone| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    /// Says that the wall clock is right at this moment, by evidence of its own: a server that checks time has accepted this
    /// machine, for one. Only then can the time for which the machine was off count for the lifetime of items; it is called
    /// at every such occasion.
    ///
    /// # Errors
    ///
    /// [`QueueError::Closed`].
    pub async fn wall_clock_is_right(&self) -> Result<(), QueueError> {
        let sent = self.commands.send(Command::Clock).await;
        sent.map_err(|_| QueueError::Closed)
    }

    /// What the queue holds of one priority. Cheap: reads counters, as of the last commit.
    pub fn priority(&self, priority: Priority) -> PriorityStats {
        self.counters.priority(priority)
    }

    /// What the queue holds and has done since it was opened. Cheap: reads counters.
    pub fn stats(&self) -> QueueStats {
        self.counters.snapshot()
    }

    /// Tells when items were appended: holds the sequence of the last item that is safe on disk. A consumer reads until
    /// nothing comes, then waits for a change. The channel closes with the queue.
    pub fn changed(&self) -> watch::Receiver<Sequence> {
        self.changed.clone()
    }

    /// Stores what was handed over before, closes the database and ends its thread. Other handles find the queue closed.
    ///
    /// # Errors
    ///
    /// [`QueueError`]: closed already, or the storage failed; the file is closed in any case.
    pub async fn close(self) -> Result<(), QueueError> {
        self.end(None).await
    }

    /// Closes as [`close`](Queue::close) does, and leaves a note for the next opening: see [`take_note`](Queue::take_note). It is
    /// stored after everything else, in a commit of its own. Up to 1 MiB, or what one item may have, if that is less.
    ///
    /// # Errors
    ///
    /// [`QueueError`]: as for `close`; also if the note is too long or finds no room. No item makes room for it, and the file is
    /// closed in any case, then with the note of the closing before, if nothing was appended since, or with none.
    pub async fn close_with_note(self, note: Bytes) -> Result<(), QueueError> {
        let (bytes, limit) = (note.len(), self.space.item_limit().min(LONGEST));
        if bytes > limit {
            self.end(None).await?;
            return Err(QueueError::NoteTooLong { bytes, limit });
        }
        self.end(Some(note)).await
    }

    /// The note that the last closing left, once for all handles. None if there was none, if anything was appended after it (it
    /// leaves the file in the transaction of the first append), or if the file was damaged. Closed and opened again without an
    /// append, by a crash or not, the queue has it again.
    #[must_use]
    pub fn take_note(&self) -> Option<Bytes> {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        note.take()
    }

    async fn end(self, note: Option<Bytes>) -> Result<(), QueueError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Close { note, reply })
            .await
            .map_err(|_| QueueError::Closed)?;
        answer.await.map_err(|_| QueueError::Closed)?
    }

    async fn write(&self, work: Work) -> Result<(), Gone> {
        self.commands
            .send(Command::Write(Write {
                work,
                since: Instant::now(),
            }))
            .await
            .map_err(|_| Gone)
    }

    /// How many of the items are stored wholly or not at all, because they fit into one transaction; at least one.
    #[must_use]
    pub fn in_one_transaction(&self, items: &[NewItem]) -> usize {
        let mut estimate = Estimate::default();
        let fitting = items.iter().take_while(|item| {
            estimate.add(item);
            estimate.pages() <= self.space.transaction_pages()
        });
        fitting.count().max(1)
    }

    #[cfg(test)]
    pub(crate) async fn tamper(
        &self,
        with: impl FnOnce(&mut crate::store::Store) + Send + 'static,
    ) {
        let (done, answer) = oneshot::channel();
        let tamper = crate::command::Tamper(Box::new(move |store| {
            with(store);
            let _ = done.send(());
        }));
        self.commands.send(Command::Tamper(tamper)).await.unwrap();
        answer.await.unwrap();
    }
}

/// The queue's thread has ended.
struct Gone;

/// Joins neighbours, so that a removal of what was read together is one walk through the table.
fn ranges(mut sequences: Vec<Sequence>) -> Vec<RangeInclusive<u64>> {
    sequences.sort_unstable();
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for Sequence(sequence) in sequences {
        match ranges.last_mut() {
            Some(last) if sequence <= last.end().saturating_add(1) => {
                *last = *last.start()..=sequence
            }
            _ => ranges.push(sequence..=sequence),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_removed_together() {
        let sequences = [7, 3, 4, 5, 5, 9, 10, 1].map(Sequence);
        assert_eq!(ranges(sequences.to_vec()), [1..=1, 3..=5, 7..=7, 9..=10]);
        assert_eq!(
            ranges(vec![Sequence(u64::MAX), Sequence(u64::MAX)]),
            [u64::MAX..=u64::MAX]
        );
    }
}
