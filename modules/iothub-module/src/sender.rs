//! From the queue to the hub: what is new first and the backlog at its share, each in order, with the window kept full, and a row is removed
//! only after its PUBACK.
//!
//! Nothing is trusted but the queue: each connection begins at its first row, which is that of the first message that was not confirmed. A
//! message may so arrive twice, never not at all.

mod feed;
mod flight;
mod line;

use std::pin::Pin;
use std::time::Duration;

use iothub_client::SendError;
use store_forward::{Queue, StoredItem};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::dead_letter::DeadLetters;
use crate::hub::{Connection, Hub, Stopped};
use crate::message;
use crate::oversize::Oversize;
use crate::pace::{Class, Next, Schedule, ScheduleOptions};
use feed::{Closed, Feed};
use flight::{Confirmed, Flight};

pub use line::LineOptions;

/// Wait before the same connection is tried again.
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
type Published<C> = Result<<C as Connection>::Confirmation, SendError>;

/// How a sender works.
#[derive(Debug, Clone, Copy)]
pub struct SenderOptions {
    /// Bounds of window and watchdog.
    pub line: LineOptions,
    /// Shares of what is new, of the backlog and of the priorities.
    pub schedule: ScheduleOptions,
    /// How long what is in flight has at shutdown to be confirmed.
    pub drain: Duration,
}

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
    oversize: Oversize,
    options: SenderOptions,
    schedule: Schedule,
}

impl<H: Hub> Sender<H> {
    /// A sender of what is in the queue and what comes.
    #[must_use]
    pub fn new(hub: H, queue: Queue, dead_letters: DeadLetters, options: SenderOptions) -> Self {
        let oversize = Oversize::new(queue.clone(), dead_letters);
        Self {
            hub,
            queue,
            oversize,
            options,
            schedule: Schedule::new(options.schedule),
        }
    }

    /// Sends until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Ended {
        let mut flight = Flight::new(self.queue.clone(), self.options.line);
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
        let drained = tokio::time::timeout(self.options.drain, async {
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
        let mut feed = Feed::new(self.queue.clone());
        let mut publishing: Option<Publishing<H::Connection>> = None;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut given_up = false;
        flight.connected();
        loop {
            // Confirmed and not removed yet, or on its way to the dead letters.
            feed.skip(|sequence| flight.is_confirmed(sequence) || self.oversize.holds(sequence));
            feed.start_read();
            let mut not_before = None;
            if publishing.is_none() && flight.has_room() {
                match self
                    .schedule
                    .next(feed.waiting(), Instant::now().into_std())
                {
                    Next::Send(class) => {
                        publishing = feed
                            .take(class)
                            .map(|item| publish(connection, item, class));
                    }
                    Next::WaitUntil(at) => not_before = Some(Instant::from_std(at)),
                    Next::Nothing => {}
                }
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
                    let Some(Publishing { item, class, .. }) = publishing.take() else { continue };
                    match result {
                        Ok(confirmation) => flight.add(item, class, confirmation),
                        Err(error) if is_permanent(&error) => self.oversize.take(item, &error),
                        Err(_) => return Turn::Lost,
                    }
                }
                more = feed.progress() => {
                    if more == Err(Closed) {
                        return Turn::Stopped;
                    }
                }
                () = until(not_before) => {}
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
}

/// A message on its way into the client's window.
struct Publishing<C: Connection> {
    item: StoredItem,
    class: Class,
    work: Work<Published<C>>,
}

fn publish<C: Connection>(connection: &C, item: StoredItem, class: Class) -> Publishing<C> {
    let connection = connection.clone();
    let message = message::decode(&item);
    let work = Box::pin(async move { connection.publish(message).await });
    Publishing { item, class, work }
}

/// Whether sending the same message again can never help.
pub(crate) fn is_permanent(error: &SendError) -> bool {
    !error.is_retryable()
}

async fn work<C: Connection>(publishing: &mut Option<Publishing<C>>) -> Published<C> {
    match publishing {
        Some(publishing) => publishing.work.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
