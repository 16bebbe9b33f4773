//! Stored items that the hub can never take: dead-lettered beside the stream, so that they block nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use iothub_client::SendError;
use store_forward::{Priority, Queue, Sequence, StoredItem};

use crate::dead_letter::{DeadLetter, DeadLetters, Reason};
use crate::message;

/// Items handled at the same time.
const AT_ONCE: usize = 16;
/// Items that wait for that. One more stays in the queue, unsent, and is met again on the next connection.
const WAITING: usize = 10_000;
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(crate) struct Oversize {
    queue: Queue,
    dead_letters: DeadLetters,
    held: BTreeSet<Sequence>,
    /// With the reason. They are read again when it is their turn.
    waiting: BTreeMap<Sequence, (Priority, String)>,
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Sequence> + Send>>>,
}

impl std::fmt::Debug for Oversize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oversize")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Oversize {
    pub(crate) fn new(queue: Queue, dead_letters: DeadLetters) -> Self {
        Self {
            queue,
            dead_letters,
            held: BTreeSet::new(),
            waiting: BTreeMap::new(),
            work: FuturesUnordered::new(),
        }
    }

    pub(crate) fn holds(&self, sequence: Sequence) -> bool {
        self.held.contains(&sequence) || self.waiting.contains_key(&sequence)
    }

    /// Publishes the item as a dead letter, for as long as it takes, and removes its row then.
    pub(crate) fn take(&mut self, item: StoredItem, error: &SendError) {
        let (sequence, detail) = (item.sequence, error.to_string());
        if self.holds(sequence) {
            return;
        }
        if self.held.len() < AT_ONCE {
            let (queue, dead_letters) = (self.queue.clone(), self.dead_letters.clone());
            self.begin(sequence, bury(queue, dead_letters, item, detail));
        } else if self.waiting.len() < WAITING {
            self.waiting.insert(sequence, (item.priority, detail));
        } else {
            tracing::warn!(
                id = item.id,
                "a stored event can never be sent, and too many such wait to become dead letters; it is met again on the next connection"
            );
        }
    }

    /// Waits until one is done; for ever, when there is none. Cancel-safe.
    pub(crate) async fn progress(&mut self) {
        let Some(done) = self.work.next().await else {
            return std::future::pending().await;
        };
        self.held.remove(&done);
        if let Some((sequence, (priority, detail))) = self.waiting.pop_first() {
            let (queue, dead_letters) = (self.queue.clone(), self.dead_letters.clone());
            self.begin(sequence, async move {
                let before = Sequence(sequence.0.saturating_sub(1));
                match queue.read_priority(priority, before, sequence, 1, 0).await {
                    // None: it has expired, or somebody took it out.
                    Ok(mut found) => if let Some(item) = found.pop() {
                        bury(queue, dead_letters, item, detail).await;
                    }
                    Err(error) => tracing::error!(sequence = sequence.0, %error, "a stored event that can never be sent cannot be read; it is met again on the next connection"),
                }
            });
        }
    }

    fn begin(&mut self, sequence: Sequence, work: impl Future<Output = ()> + Send + 'static) {
        self.held.insert(sequence);
        self.work.push(Box::pin(async move {
            work.await;
            sequence
        }));
    }
}

async fn bury(queue: Queue, dead_letters: DeadLetters, item: StoredItem, detail: String) {
    tracing::error!(
        id = item.id,
        reason = detail,
        "a stored event can never be sent; it becomes a dead letter"
    );
    let topic = message::decode(&item)
        .properties
        .into_iter()
        .find(|(key, _)| key == "topic");
    let letter = DeadLetter {
        reason: Reason::TooLarge,
        detail,
        topic: topic.map(|(_, topic)| topic).unwrap_or_default(),
        original: item.payload,
    };
    let mut wait = WAIT.0;
    while let Err(error) = dead_letters.publish(&letter).await {
        tracing::warn!(%error, "a dead letter could not be published; trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT.1);
    }
    if let Err(error) = queue.remove(vec![item.sequence]).await {
        tracing::error!(%error, "a dead letter's row could not be removed; it comes again after the next start");
    }
}
