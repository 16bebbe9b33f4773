//! What is on the wire, and what is confirmed but still has its row.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use iothub_client::SendError;
use metrics::{Counter, Histogram};
use store_forward::{Queue, QueueError, Route, Sequence};
use tokio::time::Instant;

use super::line::{Line, LineOptions};
use super::packer::Parcel;
use crate::hub::Connection;
use crate::metrics::{PUBACK, SENT, SENT_EVENTS};
use crate::pace::{self, Class};

/// One removal takes at most so many rows.
const REMOVE_ITEMS: usize = 256;
/// Wait after a failure of the queue's storage.
const STORAGE_WAIT: Duration = Duration::from_secs(1);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Removal = Work<(Vec<Sequence>, Result<(), QueueError>)>;
type Answered = (OnTheWire, Result<(), SendError>);

/// A message that waits for its PUBACK.
struct OnTheWire {
    sequences: Vec<Sequence>,
    class: Class,
    route: Route,
    sent: pace::Sent,
}

/// What happened next.
#[derive(Debug)]
pub(super) enum Confirmed {
    /// A PUBACK came, so long after its message was sent.
    Acknowledged(Duration),
    /// Rows are gone.
    Removed,
    /// The connection is lost; the message is still unconfirmed.
    Lost,
    /// The queue was closed.
    QueueClosed,
}

pub(super) struct Flight<C: Connection> {
    queue: Queue,
    on_the_wire: FuturesUnordered<Work<Answered>>,
    unconfirmed: BTreeSet<Sequence>,
    /// Rows that may go.
    confirmed: BTreeSet<Sequence>,
    removal: Option<Removal>,
    line: Line,
    sent: Counter,
    sent_events: HashMap<(Class, Route), Counter>,
    puback: Histogram,
    connection: std::marker::PhantomData<fn(C)>,
}

impl<C: Connection> Flight<C> {
    pub(super) fn new(queue: Queue, line: LineOptions, identity: &str) -> Self {
        Self {
            queue,
            on_the_wire: FuturesUnordered::new(),
            unconfirmed: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            removal: None,
            line: Line::new(line, identity),
            sent: metrics::counter!(SENT.name),
            sent_events: HashMap::new(),
            puback: metrics::histogram!(PUBACK.name),
            connection: std::marker::PhantomData,
        }
    }

    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Whether the item is confirmed and not removed yet, or still to be confirmed.
    pub(super) fn holds(&self, sequence: Sequence) -> bool {
        self.confirmed.contains(&sequence) || self.unconfirmed.contains(&sequence)
    }

    pub(super) fn is_wire_empty(&self) -> bool {
        self.on_the_wire.is_empty()
    }

    /// What the status tells of the line.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Whether the window lets one more message go.
    pub(super) fn has_room(&self) -> bool {
        self.line.has_room()
    }

    pub(super) fn connected(&mut self) {
        self.line.connected();
    }

    /// How long the oldest message has waited for its PUBACK, if that means a dead link.
    pub(super) fn dead(&self) -> Option<Duration> {
        self.line.dead(Instant::now())
    }

    pub(super) fn add(&mut self, parcel: &Parcel, confirmation: C::Confirmation) {
        let message = OnTheWire {
            sequences: parcel.content.sequences(),
            class: parcel.class,
            route: parcel.route.clone(),
            sent: self.line.sent(Instant::now()),
        };
        self.unconfirmed.extend(&message.sequences);
        self.on_the_wire
            .push(Box::pin(async move { (message, confirmation.await) }));
    }

    /// The next thing that happens; never, when nothing is on the wire and no removal runs. Cancel-safe.
    pub(super) async fn next(&mut self) -> Confirmed {
        tokio::select! {
            (message, result) = confirmation(&mut self.on_the_wire) => self.confirm(message, &result),
            (sequences, result) = removal(&mut self.removal) => self.removed(sequences, result),
        }
    }

    fn confirm(&mut self, message: OnTheWire, result: &Result<(), SendError>) -> Confirmed {
        if result.is_err() {
            return Confirmed::Lost;
        }
        let OnTheWire {
            sequences,
            class,
            route,
            sent,
        } = message;
        for sequence in &sequences {
            self.unconfirmed.remove(sequence);
        }
        let count = sequences.len();
        self.confirmed.extend(sequences);
        self.sent.increment(1);
        self.sent_events
            .entry((class, route))
            .or_insert_with_key(|(class, route)| sent_events(*class, route))
            .increment(u64::try_from(count).unwrap_or(u64::MAX));
        let took = self.line.acknowledged(&sent, Instant::now());
        self.puback.record(took.as_secs_f64());
        Confirmed::Acknowledged(took)
    }

    fn removed(&mut self, sequences: Vec<Sequence>, result: Result<(), QueueError>) -> Confirmed {
        self.removal = None;
        match result {
            Ok(()) => {
                for sequence in sequences {
                    self.confirmed.remove(&sequence);
                }
                Confirmed::Removed
            }
            Err(QueueError::Closed) => Confirmed::QueueClosed,
            Err(error) => {
                tracing::error!(%error, "rows cannot be removed from the queue; trying again");
                self.removal = Some(remove(self.queue.clone(), sequences, STORAGE_WAIT));
                Confirmed::Removed
            }
        }
    }

    /// Starts removing what is confirmed, unless a removal runs; groups form while it does.
    pub(super) fn start_removal(&mut self) {
        if self.removal.is_none() && !self.confirmed.is_empty() {
            let sequences = self.confirmed.iter().take(REMOVE_ITEMS).copied().collect();
            self.removal = Some(remove(self.queue.clone(), sequences, Duration::ZERO));
        }
    }

    /// Waits until nothing is on the wire; what was lost stays unconfirmed.
    pub(super) async fn drain(&mut self) {
        while !self.on_the_wire.is_empty() {
            self.next().await;
        }
    }

    /// Waits until what is confirmed has no row any more.
    pub(super) async fn flush(&mut self) {
        loop {
            self.start_removal();
            if self.removal.is_none() || matches!(self.next().await, Confirmed::QueueClosed) {
                return;
            }
        }
    }

    /// The connection has ended: forgets what was on the wire; gives the first message that was not confirmed.
    pub(super) fn abandon(&mut self) -> Option<Sequence> {
        self.on_the_wire.clear();
        self.line.ended(self.unconfirmed.len());
        let first = self.unconfirmed.first().copied();
        self.unconfirmed.clear();
        first
    }
}

fn sent_events(class: Class, route: &Route) -> Counter {
    metrics::counter!(
        SENT_EVENTS.name,
        "priority" => class.priority.to_string(),
        "lane" => class.lane.word(),
        "route" => route.as_str().to_owned()
    )
}

fn remove(queue: Queue, sequences: Vec<Sequence>, after: Duration) -> Removal {
    Box::pin(async move {
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        let result = queue.remove(sequences.clone()).await;
        (sequences, result)
    })
}

async fn confirmation(on_the_wire: &mut FuturesUnordered<Work<Answered>>) -> Answered {
    match on_the_wire.next().await {
        Some(sent) => sent,
        None => std::future::pending().await,
    }
}

async fn removal<T>(removal: &mut Option<Work<T>>) -> T {
    match removal {
        Some(removal) => removal.await,
        None => std::future::pending().await,
    }
}
