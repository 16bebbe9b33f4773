//! From the broker into the queue: deliveries are routed, put in order, stored in groups, and acknowledged only when they are durable.

mod counters;
mod late;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use iothub_protocol::MessageError;
use measurement::Envelope;
use module_runtime::{Delivery, HealthFlag};
use routes::{Event, Routes, Treatment};
use store_forward::{AppendError, NewItem, Priority, Queue, Sequence};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::{DeadLetter, DeadLetters, Reason};
use crate::message;
use crate::metrics::RETURNED;
use crate::sequencer::{Admission, Limits, Outcome, Position, Sequencer, Ticket};
use counters::{Counters, RouteCounters};
use late::Late;

/// One append takes at most so many events and so many bytes.
const GROUP_ITEMS: usize = 256;
const GROUP_BYTES: usize = 512 * 1024;
/// Dead letters on their way at the same time; a poison event beyond goes back to the broker.
const DEAD_LETTERS_IN_FLIGHT: usize = 16;
/// Wait after a failure of the storage: first and longest.
const STORAGE_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// An append that runs at shutdown has this long to finish.
const LAST_APPEND: Duration = Duration::from_secs(5);

/// The durable end of the intake; the real one is [`Queue`].
pub trait Store: Send + Sync + 'static {
    /// See [`Queue::in_one_transaction`].
    fn in_one_transaction(&self, items: &[NewItem]) -> usize;

    /// See [`Queue::append`].
    fn append(
        &self,
        items: Vec<NewItem>,
    ) -> impl Future<Output = Result<Vec<Sequence>, AppendError>> + Send;
}

impl Store for Queue {
    fn in_one_transaction(&self, items: &[NewItem]) -> usize {
        Queue::in_one_transaction(self, items)
    }

    fn append(
        &self,
        items: Vec<NewItem>,
    ) -> impl Future<Output = Result<Vec<Sequence>, AppendError>> + Send {
        Queue::append(self, items)
    }
}

/// Why the intake ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The queue was closed under it.
    #[error("the queue closed while events were being taken in")]
    QueueClosed,
    /// Every subscription ended.
    #[error("all subscriptions ended")]
    SubscriptionsEnded,
}

/// What a changed document changes here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bounds of the sequencer.
    pub limits: Limits,
    /// Which way events go. What was decided about an event stays so, also while it waits.
    pub routes: Arc<Routes>,
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    fate: Fate,
    route: RouteCounters,
}

/// What becomes of an event when it is its turn. Also what is not stored takes its turn, or its successors would wait for it.
#[derive(Debug)]
enum Fate {
    Store(NewItem),
    /// Its route drops it.
    Drop,
    /// It can never be sent.
    Poison(Reason, String),
}

#[derive(Debug)]
struct Ready {
    delivery: Delivery,
    item: NewItem,
    route: RouteCounters,
    /// None for an event without a sequence.
    ticket: Option<Ticket>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// See the module's documentation. Deliveries in flight are bounded by the subscriptions' buffers; what it holds are their events.
pub struct Intake<S> {
    store: Arc<S>,
    sequencer: Sequencer<Waiting>,
    routes: Arc<Routes>,
    /// In the order of the routes.
    route_counters: Vec<RouteCounters>,
    outcomes: Vec<Outcome<Waiting>>,
    ready: VecDeque<Ready>,
    appending: Vec<Ready>,
    append: Option<Work<Result<(), AppendError>>>,
    dead_letters: DeadLetters,
    poison: FuturesUnordered<Work<()>>,
    storage: Arc<HealthFlag>,
    counters: Counters,
    late: Late,
}

impl<S> std::fmt::Debug for Intake<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("held", &self.sequencer.held())
            .field("ready", &self.ready.len())
            .field("appending", &self.appending.len())
            .finish_non_exhaustive()
    }
}

impl<S: Store> Intake<S> {
    /// An intake into `store`; `storage` tells whether the store takes what it is given.
    #[must_use]
    pub fn new(
        store: Arc<S>,
        settings: Settings,
        dead_letters: DeadLetters,
        storage: HealthFlag,
    ) -> Self {
        Self {
            store,
            late: Late::new(settings.limits.reorder_wait),
            sequencer: Sequencer::new(settings.limits),
            route_counters: RouteCounters::of_all(&settings.routes),
            routes: settings.routes,
            outcomes: Vec::new(),
            ready: VecDeque::new(),
            appending: Vec::new(),
            append: None,
            dead_letters,
            poison: FuturesUnordered::new(),
            storage: Arc::new(storage),
            counters: Counters::new(),
        }
    }

    /// Takes over what the process before knew of its streams ([`Self::run`]). A note that says nothing costs waiting, and is told.
    pub fn recall(&mut self, note: &[u8]) {
        match self.sequencer.recall(note) {
            Ok(streams) => tracing::info!(streams, "streams known from before the restart"),
            Err(error) => {
                tracing::warn!(%error, "the note of the process before is not used; the first event of each stream waits for those before it");
            }
        }
    }

    /// Takes in what `deliveries` brings until `shutdown`. What is not durable then goes back to the broker. Gives the note for [`Self::recall`]
    /// of the next process.
    ///
    /// # Errors
    /// See [`IntakeError`]: the module cannot go on without a restart.
    pub async fn run(
        mut self,
        mut deliveries: impl Stream<Item = Delivery> + Unpin,
        mut settings: watch::Receiver<Settings>,
        shutdown: CancellationToken,
    ) -> Result<Vec<u8>, IntakeError> {
        loop {
            self.start_append();
            let deadline = self.sequencer.deadline();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                result = running(&mut self.append) => self.appended(result)?,
                () = until(deadline) => self.expire(),
                Some(()) = self.poison.next(), if !self.poison.is_empty() => {}
                Ok(()) = settings.changed() => {
                    let settings = settings.borrow_and_update().clone();
                    self.set(settings);
                }
                delivery = deliveries.next() => {
                    self.take(delivery.ok_or(IntakeError::SubscriptionsEnded)?);
                    // What else is there already goes into the same group.
                    while self.ready.len() < GROUP_ITEMS {
                        let Some(Some(delivery)) = deliveries.next().now_or_never() else { break };
                        self.take(delivery);
                    }
                }
            }
        }
        if self.append.is_some()
            && let Ok(result) = tokio::time::timeout(LAST_APPEND, running(&mut self.append)).await
        {
            self.appended(result)?;
        }
        Ok(self.sequencer.note())
    }

    fn set(&mut self, settings: Settings) {
        self.sequencer.set_limits(settings.limits);
        self.late = Late::new(settings.limits.reorder_wait);
        self.route_counters = RouteCounters::of_all(&settings.routes);
        self.routes = settings.routes;
    }

    fn take(&mut self, mut delivery: Delivery) {
        self.counters.received.increment(1);
        let body = delivery.body.clone();
        let envelope = match Envelope::parse(&body) {
            Ok(envelope) => envelope,
            Err(error) => return self.poison(delivery, Reason::NotACloudEvent, error.to_string()),
        };
        let decision = self.routes.route(&Event {
            topic: &delivery.topic,
            envelope: &envelope,
            body: &body,
        });
        let route = self.route_counters[decision.position].clone();
        let fate = match &decision.route.treatment {
            Treatment::Drop => Fate::Drop,
            Treatment::Send(handling) => {
                let (topic, body) = (&delivery.topic, body.clone());
                let shrinks = handling
                    .batch
                    .as_ref()
                    .is_some_and(|batch| batch.gzip || batch.encoding != routes::Encoding::Plain);
                match message::encode(topic, &envelope, body, decision.properties, shrinks) {
                    Ok(item) => Fate::Store(NewItem {
                        priority: Priority::new(handling.priority).unwrap_or_default(),
                        route: route.name.clone(),
                        lifetime: handling.lifetime,
                        ..item
                    }),
                    Err(error @ MessageError::TooLarge { .. }) => {
                        Fate::Poison(Reason::TooLarge, error.to_string())
                    }
                    Err(error) => Fate::Poison(Reason::InvalidProperties, error.to_string()),
                }
            }
        };
        let bytes = match &fate {
            Fate::Store(item) => item.size(),
            Fate::Drop => {
                // Only its place counts from here on.
                delivery.body = Bytes::new();
                0
            }
            Fate::Poison(..) => body.len(),
        };
        let waiting = Waiting {
            delivery,
            fate,
            route,
        };
        let (Some(sequence), Some(epoch)) = (envelope.sequence, &envelope.epoch) else {
            return self.admit(waiting, None);
        };
        let subject = envelope.subject.as_deref().unwrap_or_default();
        let position = Position {
            source: &envelope.source,
            subject,
            epoch,
            sequence,
        };
        self.sequencer
            .arrive(position, bytes, waiting, Instant::now(), &mut self.outcomes);
        self.sort_out();
    }

    fn expire(&mut self) {
        self.sequencer.expire(Instant::now(), &mut self.outcomes);
        self.sort_out();
    }

    fn sort_out(&mut self) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Admit { item, how, ticket } => {
                    match how {
                        Admission::InOrder => {}
                        Admission::Reordered => self.counters.reordered.increment(1),
                        Admission::AfterGap => self.counters.after_gap.increment(1),
                        // A dead letter has no order: this one could not be published the first time.
                        Admission::Late if matches!(item.fate, Fate::Poison(..)) => {}
                        Admission::Late => {
                            self.counters.late.increment(1);
                            self.late.came(Instant::now());
                        }
                    }
                    self.admit(item, Some(ticket));
                }
                Outcome::Duplicate(Waiting { delivery, .. }) => {
                    self.counters.duplicates.increment(1);
                    delivery.accept();
                }
                Outcome::Copy(Waiting { delivery, .. }) => delivery.retry(),
                Outcome::NoRoom(Waiting { delivery, .. }) => {
                    metrics::counter!(RETURNED.name, "reason" => "no-room-to-wait").increment(1);
                    delivery.retry();
                }
            }
        }
        // Its room is used again.
        self.outcomes = outcomes;
    }

    /// It is the event's turn: to be stored, or to be dropped, which is done with that, or to become a dead letter.
    fn admit(&mut self, waiting: Waiting, ticket: Option<Ticket>) {
        let Waiting {
            delivery,
            fate,
            route,
        } = waiting;
        match fate {
            Fate::Store(item) => self.ready.push_back(Ready {
                delivery,
                item,
                route,
                ticket,
            }),
            Fate::Drop => {
                if let Some(ticket) = ticket {
                    self.sequencer.stored(ticket);
                }
                route.count();
                delivery.accept();
            }
            Fate::Poison(reason, detail) => {
                if let Some(ticket) = ticket {
                    self.sequencer.skipped(ticket);
                }
                self.poison(delivery, reason, detail);
            }
        }
    }

    fn start_append(&mut self) {
        if self.append.is_some() || self.ready.is_empty() {
            return;
        }
        let mut bytes = 0;
        while let Some(next) = self.ready.front() {
            bytes += next.item.size();
            let full = self.appending.len() >= GROUP_ITEMS || bytes > GROUP_BYTES;
            if full && !self.appending.is_empty() {
                break;
            }
            self.appending.extend(self.ready.pop_front());
        }
        let mut items: Vec<_> = self
            .appending
            .iter()
            .map(|ready| ready.item.clone())
            .collect();
        // All of a group is stored, or none: what goes back to the broker is not in a small queue either.
        let whole = self.store.in_one_transaction(&items).min(items.len());
        items.truncate(whole);
        for ready in self.appending.drain(whole..).rev() {
            self.ready.push_front(ready);
        }
        self.append = Some(Box::pin(append(
            Arc::clone(&self.store),
            items,
            Arc::clone(&self.storage),
        )));
    }

    fn appended(&mut self, result: Result<(), AppendError>) -> Result<(), IntakeError> {
        self.append = None;
        match result {
            Ok(()) => {
                for ready in self.appending.drain(..) {
                    if let Some(ticket) = ready.ticket {
                        self.sequencer.stored(ticket);
                    }
                    ready.route.count();
                    ready.delivery.accept();
                }
                Ok(())
            }
            Err(AppendError::TooLarge { id, bytes, limit }) => {
                self.refuse_one(
                    &id,
                    format!("the event has {bytes} bytes, the queue takes up to {limit}"),
                );
                Ok(())
            }
            Err(AppendError::Closed) => {
                self.give_back("closed");
                Err(IntakeError::QueueClosed)
            }
            // Storage failures are retried inside the append; only a full queue is left.
            Err(AppendError::Full | AppendError::Storage { .. }) => {
                self.give_back("queue-full");
                Ok(())
            }
        }
    }

    /// Back-pressure: nothing that was admitted may pass what goes back, so all of it goes back.
    fn give_back(&mut self, reason: &'static str) {
        let now = Instant::now();
        let all = self.appending.drain(..).chain(self.ready.drain(..));
        let mut count = 0;
        for ready in all {
            if let Some(ticket) = ready.ticket {
                self.sequencer.returned(ticket, now);
            }
            ready.delivery.retry();
            count += 1;
        }
        metrics::counter!(RETURNED.name, "reason" => reason).increment(count);
        tracing::debug!(reason, count, "events went back to the broker");
    }

    /// One event of the group is too large for the queue: it becomes a dead letter, the others are appended again, in order.
    fn refuse_one(&mut self, id: &str, detail: String) {
        let group = std::mem::take(&mut self.appending);
        let largest = group
            .iter()
            .filter(|ready| ready.item.id == id)
            .map(|ready| ready.item.size())
            .max();
        let mut refused = None;
        for ready in group.into_iter().rev() {
            if refused.is_none() && ready.item.id == id && Some(ready.item.size()) == largest {
                refused = Some(ready);
            } else {
                self.ready.push_front(ready);
            }
        }
        if let Some(ready) = refused {
            if let Some(ticket) = ready.ticket {
                self.sequencer.skipped(ticket);
            }
            self.poison(ready.delivery, Reason::TooLarge, detail);
        }
    }

    /// Accepted when the dead letter is with the broker, otherwise it comes again.
    fn poison(&mut self, delivery: Delivery, reason: Reason, detail: String) {
        if self.poison.len() >= DEAD_LETTERS_IN_FLIGHT {
            return delivery.retry();
        }
        let letter = DeadLetter {
            reason,
            detail,
            topic: delivery.topic.clone(),
            original: delivery.body.clone(),
        };
        let dead_letters = self.dead_letters.clone();
        self.poison.push(Box::pin(async move {
            match dead_letters.publish(&letter).await {
                Ok(()) => delivery.accept(),
                Err(error) => {
                    tracing::warn!(%error, topic = letter.topic, "a dead letter could not be published; the event stays with the broker");
                    delivery.retry();
                }
            }
        }));
    }
}

/// Appends a group; waits out failures of the storage, for ever: the events are safe with the broker meanwhile.
async fn append<S: Store>(
    store: Arc<S>,
    items: Vec<NewItem>,
    storage: Arc<HealthFlag>,
) -> Result<(), AppendError> {
    let mut wait = STORAGE_WAIT.0;
    let mut failed = false;
    loop {
        match store.append(items.clone()).await {
            Ok(_) => {
                if failed {
                    storage.ready();
                    tracing::info!("the queue's storage works again");
                }
                return Ok(());
            }
            Err(AppendError::Storage { reason, .. }) => {
                if !failed {
                    tracing::error!(
                        reason,
                        "the queue's storage failed; events stay with the broker until it works; free space on its disk or check the disk"
                    );
                }
                failed = true;
                storage.not_ready(format!("the queue's storage failed: {reason}"));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(STORAGE_WAIT.1);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn running<T>(work: &mut Option<Work<T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
