//! One stream: the events of a device and group, from requests to rendered events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use measurement::{BadReason, Epoch, Event, EventTemplate, Reading, StreamIdentity};
use time::OffsetDateTime;

use crate::configuration::{Device, Group};
use crate::requests::{self, Answer, Request};

/// Who publishes: the same for every stream of this run.
#[derive(Debug, Clone)]
pub struct Source {
    /// The appliance's name.
    pub appliance: String,
    /// The module's name.
    pub module: String,
    /// This run.
    pub epoch: Epoch,
}

/// Counts one stream's events; lives as long as the epoch, whatever happens to the configuration.
#[derive(Debug)]
pub struct Counter {
    /// Tells streams apart cheaply.
    pub stream: u32,
    last: AtomicU64,
}

impl Counter {
    /// The next sequence number; the first is 1.
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The counters of all streams that ever were in this epoch.
#[derive(Debug, Default)]
pub struct Counters(Mutex<HashMap<(String, String), Arc<Counter>>>);

impl Counters {
    /// The counter of a device and group.
    pub fn of(&self, device: &str, group: &str) -> Arc<Counter> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = u32::try_from(counters.len()).unwrap_or(u32::MAX);
        let counter = counters
            .entry((device.to_owned(), group.to_owned()))
            .or_insert_with(|| {
                Arc::new(Counter {
                    stream,
                    last: AtomicU64::new(0),
                })
            });
        Arc::clone(counter)
    }
}

/// A stream and the cycle that runs.
#[derive(Debug)]
pub struct Stream {
    /// Position of the device among those of the link.
    pub device: usize,
    requests: Vec<Request>,
    readings: Vec<Reading>,
    template: EventTemplate,
    counter: Arc<Counter>,
    /// The request that is next.
    position: usize,
    /// How often it was repeated already.
    pub attempts: u8,
}

impl Stream {
    /// Plans the group's tags for the device.
    pub fn new(
        source: &Source,
        position: usize,
        device: &Device,
        group: &Group,
        counters: &Counters,
    ) -> Self {
        let identity = StreamIdentity {
            appliance: source.appliance.clone(),
            module: source.module.clone(),
            device: device.name.clone(),
            group: group.name.clone(),
        };
        let tags: Vec<&str> = group.tags.iter().map(|tag| tag.name.as_str()).collect();
        Self {
            device: position,
            requests: requests::plan(device, &group.tags),
            readings: vec![Reading::Bad(BadReason::NotRead); tags.len()],
            template: EventTemplate::new(&identity, &source.epoch, &tags),
            counter: counters.of(&device.name, &group.name),
            position: 0,
            attempts: 0,
        }
    }

    /// The request to send next; none when the cycle is complete.
    pub fn request(&self) -> Option<&Request> {
        self.requests.get(self.position)
    }

    /// Whether the cycle has not sent anything yet.
    pub fn is_fresh(&self) -> bool {
        self.position == 0 && self.attempts == 0
    }

    /// How many tags.
    pub fn tags(&self) -> usize {
        self.readings.len()
    }

    /// Takes in the answer to [`Stream::request`].
    pub fn answered(&mut self, answer: &Answer) {
        if let Some(request) = self.requests.get(self.position) {
            request.decode(answer, &mut self.readings);
        }
        self.advance();
    }

    /// The device refused [`Stream::request`]; the cycle goes on with the next.
    pub fn refused(&mut self, reason: BadReason) {
        if let Some(request) = self.requests.get(self.position) {
            request.fail(reason, &mut self.readings);
        }
        self.advance();
    }

    /// Breaks the cycle off: what was not read yet is bad.
    pub fn give_up(&mut self, reason: BadReason) {
        for request in self.requests.get(self.position..).unwrap_or_default() {
            request.fail(reason, &mut self.readings);
        }
        self.position = self.requests.len();
    }

    /// The event of the cycle, and the stream's number; the next cycle begins.
    pub fn complete(&mut self) -> (u32, Event) {
        self.position = 0;
        self.attempts = 0;
        let at = OffsetDateTime::now_utc();
        let event = self
            .template
            .render(self.counter.next(), at, self.readings.iter());
        (self.counter.stream, event)
    }

    fn advance(&mut self) {
        self.position += 1;
        self.attempts = 0;
    }
}
