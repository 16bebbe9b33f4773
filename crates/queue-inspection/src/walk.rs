//! Going through the events of a queue in the order of their numbers.

use store_forward::{Priority, Queue, QueueError, Sequence, StoredItem};

use crate::item::{Item, NotJson};
use crate::protocol::End;
use crate::selection::{Selection, SelectionError};

/// One read takes at most so many items and bytes: what else asks the queue does not wait for long.
const READ_ITEMS: usize = 256;
const READ_BYTES: usize = 1 << 20;

/// Goes through the selected events that were in the queue when it began. What comes later is not in it; what is sent, dropped or expires
/// before it gets there is not, either.
#[derive(Debug)]
pub struct Walk<'a> {
    queue: &'a Queue,
    selection: &'a Selection,
    priority: Option<Priority>,
    after: u64,
    until: u64,
    left: u64,
    end: End,
    damaged_before: u64,
}

impl<'a> Walk<'a> {
    /// # Errors
    /// A selection that is none.
    pub fn new(queue: &'a Queue, selection: &'a Selection) -> Result<Self, SelectionError> {
        let last = queue.changed().borrow().0;
        Ok(Self {
            queue,
            selection,
            priority: selection.priority()?,
            after: selection.from.unwrap_or_default().saturating_sub(1),
            until: selection.until.unwrap_or(u64::MAX).min(last),
            left: selection.limit.unwrap_or(u64::MAX),
            end: End::default(),
            damaged_before: queue.stats().corrupt_rows,
        })
    }

    /// The next ones; none at the end.
    ///
    /// # Errors
    /// The queue's.
    pub async fn next(&mut self) -> Result<Vec<StoredItem>, QueueError> {
        while self.after < self.until && self.left > 0 {
            let after = Sequence(self.after);
            let mut items = match self.priority {
                Some(priority) => {
                    let until = Sequence(self.until);
                    let read = self
                        .queue
                        .read_priority(priority, after, until, READ_ITEMS, READ_BYTES);
                    read.await?
                }
                None => self.queue.read(after, READ_ITEMS, READ_BYTES).await?,
            };
            self.after = items.last().map_or(u64::MAX, |last| last.sequence.0);
            items.retain(|item| item.sequence.0 <= self.until && self.selection.wants(item));
            items.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left = self.left.saturating_sub(items.len() as u64);
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }

    /// The next ones in lines, with the events themselves if that is wanted; none at the end.
    ///
    /// # Errors
    /// The queue's.
    pub async fn next_lines(&mut self, events: bool) -> Result<Vec<Item>, QueueError> {
        loop {
            let stored = self.next().await?;
            let mut items = Vec::with_capacity(stored.len());
            for stored in &stored {
                let item = if events {
                    Item::with_event(stored)
                } else {
                    Ok(Item::of(stored))
                };
                match item {
                    Ok(item) => items.push(item),
                    Err(NotJson) => self.end.not_json += 1,
                }
            }
            self.end.items += items.len() as u64;
            if stored.is_empty() || !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// How many lines there were, and how many items were left out.
    #[must_use]
    pub fn end(&self) -> End {
        let damaged = self.queue.stats().corrupt_rows;
        End {
            damaged: damaged.saturating_sub(self.damaged_before),
            ..self.end
        }
    }
}
