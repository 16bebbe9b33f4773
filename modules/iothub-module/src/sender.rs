//! From the queue to the hub: what is new first and the backlog at its share, each in order, with the window kept full, and a row is removed
//! only after its PUBACK.
//!
//! Nothing is trusted but the queue: each connection begins at its first row, which is that of the first message that was not confirmed. A
//! message may so arrive twice, never not at all. Each identity has a sender of its own, which reads the rows of its keys and no others.

mod feed;
mod flight;
mod gate;
mod line;
mod packer;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iothub_client::SendError;
use store_forward::Queue;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::dead_letter::DeadLetters;
use crate::hub::{Connection, Hub, Stopped};
use crate::metered::Metered;
use crate::oversize::Oversize;
use crate::pace::budget::CONNECTION_BYTES;
use crate::pace::{Next, Priorities, Schedule, ScheduleOptions, ThrottleState};
use feed::{Closed, Feed};
use flight::{Confirmed, Flight};
use gate::{Gate, Passage};
use packer::{Content, Packer, Parcel};

pub use feed::Mine;
pub use line::LineOptions;
pub use packer::{BatchSettings, Batches, batches_of};

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

/// What a sender works with.
#[derive(Debug)]
pub struct SenderParts<H> {
    /// Connections of its identity.
    pub hub: H,
    /// The identity's name, for log and metrics.
    pub identity: String,
    /// Where the events are.
    pub queue: Queue,
    /// Which of them it sends.
    pub mine: Mine,
    /// Where those go that can never be sent.
    pub dead_letters: DeadLetters,
    /// Routes with several events in a message, as they change.
    pub batches: watch::Receiver<Arc<Batches>>,
    /// The byte budget, if there is one.
    pub budget: Option<Arc<Metered>>,
    /// Told when the hub has answered a request of this identity with 429.
    pub refused: Arc<Notify>,
}

/// Where a sender stands, for status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderState {
    /// What the hub takes.
    pub throttle: ThrottleState,
    /// Messages that may wait for their PUBACK at a time.
    pub window: usize,
    /// Median and 99th percentile of the last 512 times from sending to PUBACK.
    pub puback: Option<(Duration, Duration)>,
}

/// What became of one connection.
enum Turn {
    Lost,
    Shutdown,
    Stopped,
}

/// What to do next while there is room in the window.
enum Step {
    Send(Box<Parcel>),
    /// Nothing, before this time or before something else happens.
    Wait(Option<Instant>),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Sender<H> {
    parts: SenderParts<H>,
    oversize: Oversize,
    options: SenderOptions,
    schedule: Schedule,
    packer: Packer,
    gate: Gate,
    state: Arc<Mutex<SenderState>>,
}

impl<H: Hub> Sender<H> {
    /// A sender of what is in the queue and what comes.
    #[must_use]
    pub fn new(mut parts: SenderParts<H>, options: SenderOptions) -> Self {
        let batches = Batches::clone(&parts.batches.borrow_and_update());
        let budget = parts.budget.as_ref();
        let urgent_from = budget.and_then(|budget| budget.urgent_from());
        let largest = budget.and_then(|budget| budget.largest_message());
        Self {
            oversize: Oversize::new(parts.queue.clone(), parts.dead_letters.clone()),
            options,
            schedule: Schedule::new(options.schedule),
            packer: Packer::new(batches, urgent_from, largest),
            gate: Gate::new(&parts.identity),
            state: Arc::default(),
            parts,
        }
    }

    /// Where it stands, while it runs.
    #[must_use]
    pub fn state(&self) -> Arc<Mutex<SenderState>> {
        Arc::clone(&self.state)
    }

    /// Sends until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Ended {
        let mut flight = Flight::new(
            self.parts.queue.clone(),
            self.options.line,
            &self.parts.identity,
        );
        let mut last_generation = None;
        loop {
            let connection = tokio::select! {
                () = shutdown.cancelled() => return self.finish(flight).await,
                connection = self.parts.hub.connection() => match connection {
                    Ok(connection) => connection,
                    Err(Stopped) => return Ended::Stopped,
                },
            };
            let generation = connection.generation();
            if last_generation.replace(generation) == Some(generation) {
                // The client has not noticed the loss yet.
                tokio::time::sleep(SAME_CONNECTION_WAIT).await;
            } else if let Some(budget) = &self.parts.budget {
                budget.spend(CONNECTION_BYTES);
            }
            match self
                .use_connection(&connection, &mut flight, &shutdown)
                .await
            {
                Turn::Lost => {
                    let waiting = flight.line().waiting(Instant::now());
                    tokio::select! {
                        // What is still to be confirmed is waited for at the end.
                        () = shutdown.cancelled() => return self.finish(flight).await,
                        () = flight.drain() => {}
                        () = tokio::time::sleep(LOST_DRAIN) => {
                            tracing::warn!("confirmations of a lost connection did not end in time");
                        }
                    }
                    let loss = tokio::select! {
                        () = shutdown.cancelled() => return self.finish(flight).await,
                        loss = self.parts.hub.loss(generation) => loss,
                    };
                    self.gate.lost(loss, waiting, Instant::now());
                    if let Some(first) = flight.abandon() {
                        tracing::debug!(
                            first = first.0,
                            "sending again from the first unconfirmed message"
                        );
                    }
                    self.show(&flight);
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
        let mut feed = Feed::new(self.parts.queue.clone(), self.parts.mine.clone());
        let mut publishing: Option<Publishing<H::Connection>> = None;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut given_up = false;
        flight.connected();
        self.gate.connected();
        self.packer.clear(Instant::now());
        loop {
            self.skip_done(&mut feed, flight);
            feed.start_read();
            let mut not_before = None;
            if publishing.is_none() && flight.has_room() {
                match self.next_step(&mut feed, flight) {
                    Step::Send(parcel) => publishing = Some(publish(connection, *parcel)),
                    Step::Wait(at) => not_before = at,
                }
                // What was taken leaves room in the feed.
                feed.start_read();
            }
            flight.start_removal();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Turn::Shutdown,
                confirmed = flight.next() => match confirmed {
                    Confirmed::Acknowledged(took) => self.gate.acknowledged(took, Instant::now()),
                    Confirmed::Removed => {}
                    Confirmed::Lost => return Turn::Lost,
                    Confirmed::QueueClosed => return Turn::Stopped,
                },
                result = work(&mut publishing) => {
                    let Some(Publishing { parcel, .. }) = publishing.take() else { continue };
                    match result {
                        Ok(confirmation) => {
                            self.gate.sent(Instant::now());
                            if let Some(budget) = &self.parts.budget {
                                budget.spend(parcel.line_bytes);
                            }
                            flight.add(&parcel, confirmation);
                        }
                        Err(error) if error.is_retryable() => return Turn::Lost,
                        Err(error) => self.refuse(parcel, &error, &mut feed),
                    }
                }
                more = feed.progress() => {
                    if more == Err(Closed) {
                        return Turn::Stopped;
                    }
                }
                Ok(()) = self.parts.batches.changed() => {
                    let batches = Batches::clone(&self.parts.batches.borrow_and_update());
                    self.packer.set(batches);
                }
                () = self.parts.refused.notified() => self.gate.answered_429(Instant::now()),
                () = until(not_before) => {}
                () = self.oversize.progress() => {}
                _ = look.tick() => {
                    self.gate.tick(Instant::now());
                    self.show(flight);
                    if let Some(waited) = flight.dead() {
                        if !given_up {
                            tracing::warn!(waited_seconds = waited.as_secs_f64(), "no confirmation from IoT Hub: the link is taken for dead, making a new connection");
                        }
                        given_up = true;
                        connection.give_up(waited);
                    }
                }
            }
        }
    }

    /// What the hub, the budget and the shares let go next; takes from the feed what belongs into messages that are not full yet.
    fn next_step(&mut self, feed: &mut Feed, flight: &Flight<H::Connection>) -> Step {
        let now = Instant::now();
        match self.gate.passage(now, flight.is_wire_empty()) {
            Passage::Open => {}
            Passage::At(at) => return Step::Wait(Some(at)),
            Passage::AfterPuback => return Step::Wait(None),
        }
        self.packer.close_due(now);
        loop {
            let mut wake = None;
            for is_urgent in [true, false] {
                let Some(parcel) = self.packer.head(is_urgent) else {
                    continue;
                };
                let budget = self.parts.budget.as_ref();
                let not_before = budget
                    .and_then(|budget| budget.not_before(parcel.class.priority, parcel.line_bytes));
                match not_before {
                    Some(at) => wake = earlier(wake, Some(at.into())),
                    None => {
                        if let Some(parcel) = self.packer.take(is_urgent) {
                            return Step::Send(Box::new(parcel));
                        }
                    }
                }
            }
            let held = if wake.is_some() {
                self.packer.ready()
            } else {
                Priorities::NONE
            };
            // Behind an event that waits for others there may be some that have gone.
            self.skip_done(feed, flight);
            let waiting = feed.waiting().without(held);
            match self.schedule.next(waiting, now.into_std()) {
                Next::Send(class) => match feed.take(class) {
                    Some(item) => self.packer.add(item, class, now),
                    None => return Step::Wait(earlier(wake, self.packer.due())),
                },
                Next::WaitUntil(at) => {
                    let at = earlier(Some(at.into()), self.packer.due());
                    return Step::Wait(earlier(wake, at));
                }
                Next::Nothing => return Step::Wait(earlier(wake, self.packer.due())),
            }
        }
    }

    /// Leaves out what was sent and not removed yet, or is on its way to the dead letters.
    fn skip_done(&self, feed: &mut Feed, flight: &Flight<H::Connection>) {
        feed.skip(|sequence| flight.holds(sequence) || self.oversize.holds(sequence));
    }

    /// The hub can never take this message.
    fn refuse(&mut self, parcel: Parcel, error: &SendError, feed: &mut Feed) {
        match parcel.content {
            Content::One(item) => self.oversize.take(*item, error),
            Content::Several(sequences) => {
                tracing::error!(events = sequences.len(), route = parcel.route.as_str(), %error, "a message of several events can never be sent; they go one by one");
                self.packer.clear(Instant::now());
                self.packer.send_alone(sequences);
                feed.rewind();
            }
        }
    }

    fn show(&self, flight: &Flight<H::Connection>) {
        let state = SenderState {
            throttle: self.gate.state(),
            window: flight.line().window(),
            puback: flight.line().latency().median_and_p99(),
        };
        *lock(&self.state) = state;
    }
}

fn lock(state: &Mutex<SenderState>) -> MutexGuard<'_, SenderState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A message on its way into the client's window.
struct Publishing<C: Connection> {
    parcel: Parcel,
    work: Work<Published<C>>,
}

fn publish<C: Connection>(connection: &C, parcel: Parcel) -> Publishing<C> {
    let (connection, message) = (connection.clone(), parcel.message.clone());
    let work = Box::pin(async move { connection.publish(message).await });
    Publishing { parcel, work }
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
