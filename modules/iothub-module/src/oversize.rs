//! Stored items that the hub can never take: dead-lettered beside the stream, so that they block nothing.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use iothub_client::SendError;
use store_forward::{Queue, Sequence, StoredItem};

use crate::dead_letter::{DeadLetter, DeadLetters, Reason};
use crate::message;

/// Items handled at the same time. One more stays in the queue, unsent, until one of these is done.
const AT_ONCE: usize = 16;
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(crate) struct Oversize {
    queue: Queue,
    dead_letters: DeadLetters,
    held: BTreeSet<Sequence>,
    /// There was one more.
    more: bool,
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
            more: false,
            work: FuturesUnordered::new(),
        }
    }

    pub(crate) fn holds(&self, sequence: Sequence) -> bool {
        self.held.contains(&sequence)
    }

    /// Publishes the item as a dead letter, for as long as it takes, and removes its row then.
    pub(crate) fn take(&mut self, item: StoredItem, error: &SendError) {
        let sequence = item.sequence;
        if self.held.len() >= AT_ONCE {
            self.more = true;
            return;
        }
        if !self.held.insert(sequence) {
            return;
        }
        tracing::error!(id = item.id, %error, "a stored event can never be sent; it becomes a dead letter");
        let topic = message::decode(&item)
            .properties
            .into_iter()
            .find(|(key, _)| key == "topic");
        let letter = DeadLetter {
            reason: Reason::TooLarge,
            detail: error.to_string(),
            topic: topic.map(|(_, topic)| topic).unwrap_or_default(),
            original: item.payload,
        };
        let (queue, dead_letters) = (self.queue.clone(), self.dead_letters.clone());
        self.work.push(Box::pin(async move {
            let mut wait = WAIT.0;
            while let Err(error) = dead_letters.publish(&letter).await {
                tracing::warn!(%error, "a dead letter could not be published; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT.1);
            }
            if let Err(error) = queue.remove(vec![sequence]).await {
                tracing::error!(%error, "a dead letter's row could not be removed; it comes again after the next start");
            }
            sequence
        }));
    }

    /// Waits until one is done, and says whether there were more than could be taken; for ever, when there is none. Cancel-safe.
    pub(crate) async fn progress(&mut self) -> bool {
        match self.work.next().await {
            Some(sequence) => {
                self.held.remove(&sequence);
                std::mem::take(&mut self.more)
            }
            None => std::future::pending().await,
        }
    }
}
