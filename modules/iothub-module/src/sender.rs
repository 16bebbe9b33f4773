//! From the queue to the hub: in order, with the window kept full, and a row is removed only after its PUBACK.
//!
//! Nothing is trusted but the queue: after a lost connection the sender goes back to the first message that was not confirmed and sends on
//! from there, in order. A message may so arrive twice, never not at all.

mod flight;
mod line;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use iothub_client::SendError;
use store_forward::{Queue, QueueError, Sequence, StoredItem};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::DeadLetters;
use crate::hub::{Connection, Hub, Stopped};
use crate::message;
use crate::oversize::Oversize;
use flight::{Confirmed, Flight};

pub use line::LineOptions;

/// One read of the queue takes at most so many items and bytes; a second one runs while these are sent.
const READ_ITEMS: usize = 64;
const READ_BYTES: usize = 256 * 1024;
/// Wait after a failure of the queue's storage, and before the same connection is tried again.
const STORAGE_WAIT: Duration = Duration::from_secs(1);
const SAME_CONNECTION_WAIT: Duration = Duration::from_millis(200);
/// At a planned reconnect the client waits up to 10 s for PUBACKs; on a lost connection they fail at once.
const LOST_DRAIN: Duration = Duration::from_secs(12);
/// How often it is looked whether the link is dead.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How a sender ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As told, with everything in flight confirmed and removed.
    Finished,
    /// As told, but not everything in flight was confirmed in time; it is sent again after the next start.
    Unconfirmed(usize),
    /// The hub's client or the queue stopped first.
    Stopped,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Read = Result<Vec<StoredItem>, QueueError>;
type Published<C> = Result<<C as Connection>::Confirmation, SendError>;

/// What became of one connection.
enum Turn {
    Lost,
    Shutdown,
    Stopped,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Sender<H> {
    hub: H,
    queue: Queue,
    /// Everything up to here was sent on this connection, or is confirmed.
    cursor: Sequence,
    oversize: Oversize,
    line: LineOptions,
    drain: Duration,
}

impl<H: Hub> Sender<H> {
    /// A sender that starts at the queue's oldest item. At shutdown, what is in flight has `drain` to be confirmed.
    #[must_use]
    pub fn new(
        hub: H,
        queue: Queue,
        dead_letters: DeadLetters,
        line: LineOptions,
        drain: Duration,
    ) -> Self {
        let oversize = Oversize::new(queue.clone(), dead_letters);
        Self {
            hub,
            queue,
            cursor: Sequence::START,
            oversize,
            line,
            drain,
        }
    }

    /// Sends until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Ended {
        let mut flight = Flight::new(self.queue.clone(), self.line);
        let mut last_generation = None;
        loop {
            let connection = tokio::select! {
                () = shutdown.cancelled() => return self.finish(flight).await,
                connection = self.hub.connection() => match connection {
                    Ok(connection) => connection,
                    Err(Stopped) => return Ended::Stopped,
                },
            };
            if last_generation.replace(connection.generation()) == Some(connection.generation()) {
                // The client has not noticed the loss yet.
                tokio::time::sleep(SAME_CONNECTION_WAIT).await;
            }
            match self
                .use_connection(&connection, &mut flight, &shutdown)
                .await
            {
                Turn::Lost => {
                    tokio::select! {
                        // What is still to be confirmed is waited for at the end.
                        () = shutdown.cancelled() => return self.finish(flight).await,
                        () = flight.drain() => {}
                        () = tokio::time::sleep(LOST_DRAIN) => {
                            tracing::warn!("confirmations of a lost connection did not end in time");
                        }
                    }
                    if let Some(first) = flight.abandon() {
                        self.cursor = Sequence(first.0.saturating_sub(1));
                        tracing::debug!(
                            first = first.0,
                            "sending again from the first unconfirmed message"
                        );
                    }
                }
                Turn::Shutdown => return self.finish(flight).await,
                Turn::Stopped => return Ended::Stopped,
            }
        }
    }

    async fn finish<C: Connection>(self, mut flight: Flight<C>) -> Ended {
        // No more than what is on the wire is waited for; the queue holds the rest.
        let drained = tokio::time::timeout(self.drain, async {
            flight.drain().await;
            flight.flush().await;
        });
        match drained.await {
            Ok(()) if flight.unconfirmed() == 0 => Ended::Finished,
            _ => Ended::Unconfirmed(flight.unconfirmed()),
        }
    }

    async fn use_connection(
        &mut self,
        connection: &H::Connection,
        flight: &mut Flight<H::Connection>,
        shutdown: &CancellationToken,
    ) -> Turn {
        let mut changed = self.queue.changed();
        let mut buffer: VecDeque<StoredItem> = VecDeque::new();
        let mut read_to = self.cursor;
        let mut read: Option<Work<Read>> = None;
        let mut publishing: Option<(StoredItem, Work<Published<H::Connection>>)> = None;
        let mut at_end = false;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut given_up = false;
        flight.connected();
        loop {
            if read.is_none() && !at_end && buffer.len() < READ_ITEMS / 2 {
                read = Some(self.read(read_to));
            }
            if publishing.is_none()
                && flight.has_room()
                && let Some(item) = next_to_send(&mut buffer, flight, &self.oversize)
            {
                let connection = connection.clone();
                let message = message::decode(&item);
                let publish = async move { connection.publish(message).await };
                publishing = Some((item, Box::pin(publish)));
            }
            flight.start_removal();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Turn::Shutdown,
                confirmed = flight.next() => match confirmed {
                    Confirmed::Acknowledged | Confirmed::Removed => {}
                    Confirmed::TooLarge(item, error) => self.oversize.take(item, &error),
                    Confirmed::Lost => return Turn::Lost,
                    Confirmed::QueueClosed => return Turn::Stopped,
                },
                result = work(&mut publishing) => {
                    let Some((item, _)) = publishing.take() else { continue };
                    self.cursor = item.sequence;
                    match result {
                        Ok(confirmation) => flight.add(item, confirmation),
                        Err(error) if is_permanent(&error) => self.oversize.take(item, &error),
                        Err(_) => {
                            self.cursor = Sequence(item.sequence.0.saturating_sub(1));
                            return Turn::Lost;
                        }
                    }
                }
                result = reading(&mut read) => {
                    read = None;
                    match result {
                        Ok(items) => {
                            at_end = items.is_empty();
                            if let Some(last) = items.last() {
                                read_to = last.sequence;
                            }
                            buffer.extend(items);
                        }
                        Err(QueueError::Closed) => return Turn::Stopped,
                        Err(error) => {
                            tracing::error!(%error, "the queue cannot be read; trying again");
                            read = Some(self.read_after_wait(read_to));
                        }
                    }
                }
                more = newer(&mut changed, read_to), if at_end => match more {
                    Ok(()) => at_end = false,
                    Err(_) => return Turn::Stopped,
                },
                () = self.oversize.progress() => {}
                _ = look.tick() => if let Some(waited) = flight.dead() {
                    if !given_up {
                        tracing::warn!(waited_seconds = waited.as_secs_f64(), "no confirmation from IoT Hub: the link is taken for dead, making a new connection");
                    }
                    given_up = true;
                    connection.give_up(waited);
                },
            }
        }
    }

    fn read(&self, after: Sequence) -> Work<Read> {
        let queue = self.queue.clone();
        Box::pin(async move { queue.read(after, READ_ITEMS, READ_BYTES).await })
    }

    fn read_after_wait(&self, after: Sequence) -> Work<Read> {
        let queue = self.queue.clone();
        Box::pin(async move {
            tokio::time::sleep(STORAGE_WAIT).await;
            queue.read(after, READ_ITEMS, READ_BYTES).await
        })
    }
}

/// Skips what is confirmed but not yet removed, and what is on its way to the dead letters.
fn next_to_send<C: Connection>(
    buffer: &mut VecDeque<StoredItem>,
    flight: &Flight<C>,
    oversize: &Oversize,
) -> Option<StoredItem> {
    while let Some(item) = buffer.pop_front() {
        if !flight.is_confirmed(item.sequence) && !oversize.holds(item.sequence) {
            return Some(item);
        }
    }
    None
}

/// Whether sending the same message again can never help.
pub(crate) fn is_permanent(error: &SendError) -> bool {
    !error.is_retryable()
}

async fn work<T>(publishing: &mut Option<(StoredItem, Work<T>)>) -> T {
    match publishing {
        Some((_, work)) => work.await,
        None => std::future::pending().await,
    }
}

async fn reading<T>(read: &mut Option<Work<T>>) -> T {
    match read {
        Some(read) => read.await,
        None => std::future::pending().await,
    }
}

/// Waits until the queue holds something after `sequence`.
async fn newer(
    changed: &mut watch::Receiver<Sequence>,
    sequence: Sequence,
) -> Result<(), watch::error::RecvError> {
    changed.wait_for(|last| *last > sequence).await.map(|_| ())
}

#[cfg(test)]
mod tests;
