//! Events become messages: alone, or several of a route together until the message is full or the oldest has waited long enough.
//!
//! Messages hold events of one line (priority, live or backlog) and one route, so they keep the order of each line and route. An event that
//! waits for others may be passed by events of other routes. No event outlives its connection here: what was not sent is still in the queue, and
//! only the time until which it waits is remembered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use hub_encoding::{Batch, Encoding, Format, Refusal, Writers};
use iothub_protocol::Message;
use iothub_protocol::limits::{MESSAGE_BYTES, MESSAGE_ID_CHARS};
use routes::{BatchConfiguration, RouteConfiguration};
use store_forward::{Route, Sequence, StoredItem};
use tokio::time::Instant;

use crate::message;
use crate::pace::{Class, Priorities, Priority, budget};

/// One more open message, and the one that is due first goes as it is.
const OPEN: usize = 16;
/// Of so many messages that were forgotten it is remembered when they were due.
const REMEMBERED: usize = 64;
/// Before the properties in a topic: `devices/{128}/modules/{128}/messages/events/`.
const TOPIC: usize = 300;
/// The longest content type and content encoding there are, and the longest message id.
const NAMED: usize = "application/cloudevents-batch+json".len() + "utf-8".len() + MESSAGE_ID_CHARS;

/// How the routes that put several events into a message do it.
pub type Batches = BTreeMap<Route, BatchSettings>;

/// How a route puts several events into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    encoding: Encoding,
    /// Of the message, properties included.
    max_bytes: usize,
    max_delay: Duration,
}

impl From<&BatchConfiguration> for BatchSettings {
    fn from(batch: &BatchConfiguration) -> Self {
        let format = match batch.encoding {
            routes::Encoding::Plain => Format::Plain,
            routes::Encoding::Compact => Format::Compact,
            routes::Encoding::OpcuaPubsubJson => Format::OpcuaPubsub,
        };
        let max_bytes = usize::try_from(batch.max_bytes.get()).unwrap_or(MESSAGE_BYTES);
        Self {
            encoding: Encoding {
                format,
                gzip: batch.gzip,
            },
            max_bytes: max_bytes.min(MESSAGE_BYTES),
            max_delay: batch.max_delay.get(),
        }
    }
}

/// The batches of all routes that have one.
#[must_use]
pub fn batches_of(routes: &[RouteConfiguration]) -> Batches {
    let of =
        |route: &RouteConfiguration| Some((Route::new(&route.name)?, route.batch.as_ref()?.into()));
    routes.iter().filter_map(of).collect()
}

/// A message, and what its PUBACK confirms.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) class: Class,
    pub(super) route: Route,
    pub(super) content: Content,
    pub(super) message: Message,
    /// What it costs on a line that is paid by volume.
    pub(super) line_bytes: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    One(Box<StoredItem>),
    Several(Vec<Sequence>),
}

impl Content {
    pub(super) fn sequences(&self) -> Vec<Sequence> {
        match self {
            Self::One(item) => vec![item.sequence],
            Self::Several(sequences) => sequences.clone(),
        }
    }
}

/// A message that still takes events.
#[derive(Debug)]
struct Open {
    class: Class,
    route: Route,
    batch: Batch<Sequence>,
    /// Those that all its events have.
    properties: Vec<(String, String)>,
    first: Sequence,
    first_id: Option<String>,
    due: Instant,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Packer {
    batches: Batches,
    /// Events of this priority and above may go where the budget keeps others back.
    urgent_from: Option<Priority>,
    /// No message of several events has more bytes of topic and payload.
    largest: usize,
    writers: Writers,
    open: Vec<Open>,
    urgent: VecDeque<Parcel>,
    others: VecDeque<Parcel>,
    /// Events that could not be sent with others.
    alone: BTreeSet<Sequence>,
    /// When messages that were forgotten were due, by their first event: it does not wait anew.
    remembered: BTreeMap<Sequence, Instant>,
}

impl Packer {
    pub(super) fn new(
        batches: Batches,
        urgent_from: Option<Priority>,
        largest: Option<usize>,
    ) -> Self {
        Self {
            batches,
            urgent_from,
            largest: largest.unwrap_or(usize::MAX),
            writers: Writers::default(),
            open: Vec::new(),
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            alone: BTreeSet::new(),
            remembered: BTreeMap::new(),
        }
    }

    /// Other batches from now on. A message whose route has changed goes as it is.
    pub(super) fn set(&mut self, batches: Batches) {
        let before = std::mem::replace(&mut self.batches, batches);
        while let Some(index) = self
            .open
            .iter()
            .position(|open| before.get(&open.route) != self.batches.get(&open.route))
        {
            self.close(index);
        }
    }

    /// Forgets everything; it is still in the queue.
    pub(super) fn clear(&mut self, now: Instant) {
        let open = self.open.drain(..).map(|open| (open.first, open.due));
        let ready = self.urgent.drain(..).chain(self.others.drain(..));
        let ready = ready.filter_map(|parcel| match parcel.content {
            Content::One(_) => None,
            Content::Several(sequences) => Some((*sequences.first()?, now)),
        });
        self.remembered.extend(open.chain(ready));
        // What lies so far back has gone some other way.
        while self.remembered.len() > REMEMBERED {
            self.remembered.pop_first();
        }
    }

    /// These go by themselves from now on: the hub does not take the message that they are in.
    pub(super) fn send_alone(&mut self, sequences: Vec<Sequence>) {
        self.alone.extend(sequences);
    }

    /// The priorities whose next message waits to be let go; nothing more of them need be taken from the queue.
    pub(super) fn ready(&self) -> Priorities {
        let of = |is_urgent: bool| {
            let held = Priority::descending().filter(move |&it| self.is_urgent(it) == is_urgent);
            held.collect::<Priorities>()
        };
        let mut ready = Priorities::NONE;
        for is_urgent in [true, false] {
            if self.head(is_urgent).is_some() {
                ready = ready.or(of(is_urgent));
            }
        }
        ready
    }

    /// The next message, of the urgent ones or of the others.
    pub(super) fn head(&self, is_urgent: bool) -> Option<&Parcel> {
        let line = if is_urgent {
            &self.urgent
        } else {
            &self.others
        };
        line.front()
    }

    /// Takes what [`Packer::head`] shows.
    pub(super) fn take(&mut self, is_urgent: bool) -> Option<Parcel> {
        let line = if is_urgent {
            &mut self.urgent
        } else {
            &mut self.others
        };
        line.pop_front()
    }

    /// When the next open message has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.iter().map(|open| open.due).min()
    }

    /// Lets go what has waited long enough.
    pub(super) fn close_due(&mut self, now: Instant) {
        while let Some(index) = self.open.iter().position(|open| open.due <= now) {
            self.close(index);
        }
    }

    pub(super) fn add(&mut self, item: StoredItem, class: Class, now: Instant) {
        let is_it = |open: &Open| open.class == class && open.route == item.route;
        let settings = match self.batches.get(&item.route) {
            Some(settings) if !self.alone.contains(&item.sequence) => *settings,
            _ => {
                // Not past those before it.
                if let Some(index) = self.open.iter().position(is_it) {
                    self.close(index);
                }
                return self.single(item, class);
            }
        };
        let message = message::decode(&item);
        let due = self.remembered.remove(&item.sequence);
        // The second try is with an empty message.
        for _ in 0..2 {
            let index = match self.open.iter().position(is_it) {
                Some(index) => index,
                None => self.begin(&item, class, &message, &settings, now),
            };
            let Some(open) = self.open.get_mut(index) else {
                break;
            };
            match open.batch.add(&item.payload, item.sequence) {
                Ok(()) => {
                    open.due = due.map_or(open.due, |due| due.min(open.due));
                    open.properties
                        .retain(|property| message.properties.contains(property));
                    return;
                }
                Err(refused) => {
                    self.close(index);
                    if refused.why != Refusal::Full {
                        break;
                    }
                }
            }
        }
        self.single(item, class);
    }

    fn begin(
        &mut self,
        item: &StoredItem,
        class: Class,
        first: &Message,
        settings: &BatchSettings,
        now: Instant,
    ) -> usize {
        if self.open.len() >= OPEN
            && let Some((index, _)) = self
                .open
                .iter()
                .enumerate()
                .min_by_key(|(_, open)| open.due)
        {
            self.close(index);
        }
        // Properties only become fewer.
        let properties = Message {
            properties: first.properties.clone(),
            ..Message::default()
        };
        let most = settings.max_bytes.min(self.largest.saturating_sub(TOPIC));
        let limit = most.saturating_sub(properties.size() + NAMED);
        self.open.push(Open {
            class,
            route: item.route.clone(),
            batch: Batch::with_writers(settings.encoding, limit, self.writers.clone()),
            properties: properties.properties,
            first: item.sequence,
            first_id: first.id.clone(),
            due: now + settings.max_delay,
        });
        self.open.len() - 1
    }

    /// An open message takes no more.
    fn close(&mut self, index: usize) {
        let mut open = self.open.swap_remove(index);
        let Some(finished) = open.batch.finish() else {
            return;
        };
        let id = match (open.first_id, finished.items.len()) {
            (Some(first), 0 | 1) => Some(first),
            (Some(first), count) => Some(message::id_of_several(&first, count)),
            (None, _) => None,
        };
        let message = Message {
            id,
            content_type: Some(finished.content_type.to_owned()),
            content_encoding: Some(finished.content_encoding.to_owned()),
            properties: open.properties,
            ..Message::new(finished.payload)
        };
        self.push(
            open.class,
            open.route,
            Content::Several(finished.items),
            message,
        );
    }

    fn single(&mut self, item: StoredItem, class: Class) {
        self.alone.remove(&item.sequence);
        let (route, message) = (item.route.clone(), message::decode(&item));
        self.push(class, route, Content::One(Box::new(item)), message);
    }

    fn push(&mut self, class: Class, route: Route, content: Content, message: Message) {
        let line_bytes = budget::message_bytes(
            TOPIC + message.size() - message.body.len(),
            message.body.len(),
        );
        let parcel = Parcel {
            class,
            route,
            content,
            message,
            line_bytes,
        };
        if self.is_urgent(class.priority) {
            self.urgent.push_back(parcel);
        } else {
            self.others.push_back(parcel);
        }
    }

    fn is_urgent(&self, priority: Priority) -> bool {
        self.urgent_from.is_some_and(|from| priority >= from)
    }
}

#[cfg(test)]
mod tests;
