//! Changes of the desired properties become events on the configuration topic, in order, none left out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use measurement::{CONFIG_TYPE, Event, GenericEvent};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hash::fnv1a;
use crate::hub::Twin;
use crate::publisher::Publisher;

/// Changes that wait for the broker. At one more, all give way to the whole desired section, read anew.
const WAITING: usize = 32;
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// A change of the desired properties, or all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Desired {
    /// The twin's `$version` of the desired section.
    pub version: u64,
    /// Whether `desired` is the whole section; otherwise a merge patch (RFC 7386).
    pub complete: bool,
    /// The properties, without `$version` and `$metadata`.
    pub desired: Value,
}

impl Desired {
    /// Takes out what is the hub's own.
    #[must_use]
    pub fn new(version: u64, complete: bool, mut desired: Value) -> Self {
        if let Some(object) = desired.as_object_mut() {
            object.retain(|key, _| !key.starts_with('$'));
        }
        Self {
            version,
            complete,
            desired,
        }
    }

    /// The event. The same change always has the same id, so that the broker drops repeats.
    fn event(&self, publisher: &Publisher) -> Result<Event, serde_json::Error> {
        let content = fnv1a(format!("{}{}", self.complete, self.desired).as_bytes());
        GenericEvent {
            id: Some(format!(
                "{}/config/{}/{content:016x}",
                publisher.module(),
                self.version
            )),
            source: publisher.source(),
            kind: CONFIG_TYPE,
            subject: None,
            partition_key: Some("config"),
            time: OffsetDateTime::now_utc(),
        }
        .render(self)
    }
}

/// The changes that wait for the broker.
#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<Desired>,
    /// Too many came: only the whole section can be right.
    overrun: bool,
}

impl Backlog {
    fn add(&mut self, change: Desired) {
        if change.complete {
            self.waiting.clear();
            self.overrun = false;
        } else if self.overrun {
            return;
        } else if self.waiting.len() >= WAITING {
            self.waiting.clear();
            self.overrun = true;
            return;
        }
        self.waiting.push_back(change);
    }
}

/// Publishes every change for as long as it takes.
pub async fn run<T: Twin>(
    mut changes: mpsc::Receiver<Desired>,
    twin: T,
    publisher: Arc<Publisher>,
    topic: String,
    shutdown: CancellationToken,
) {
    let mut backlog = Backlog::default();
    let mut published: Option<Desired> = None;
    let mut wait = WAIT.0;
    let mut not_before = Instant::now();
    loop {
        let step = async {
            tokio::time::sleep_until(not_before).await;
            if backlog.overrun {
                let (version, desired) = twin.desired().await?;
                return Ok(Desired::new(version, true, desired));
            }
            match backlog.waiting.front() {
                // The hub gives the whole section after every reconnect; only news is worth an event.
                Some(next) if Some(next) == published.as_ref() => Ok(next.clone()),
                Some(next) => {
                    let event = next.event(&publisher).map_err(|error| error.to_string())?;
                    publisher
                        .publish(&topic, event)
                        .await
                        .map_err(|error| error.to_string())?;
                    Ok(next.clone())
                }
                None => std::future::pending().await,
            }
        };
        let done: Result<Desired, String> = tokio::select! {
            () = shutdown.cancelled() => return,
            // Ends the attempt; a repeat of it has the same id.
            change = changes.recv() => match change {
                Some(change) => {
                    backlog.add(change);
                    continue;
                }
                None => return,
            },
            done = step => done,
        };
        match done {
            Ok(whole) if backlog.overrun => {
                backlog.add(whole);
                wait = WAIT.0;
            }
            Ok(change) => {
                backlog.waiting.pop_front();
                // A patch after a whole section makes that section old.
                published = change.complete.then_some(change);
                wait = WAIT.0;
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    topic,
                    "a configuration change could not be published; trying again"
                );
                not_before = Instant::now() + wait;
                wait = (wait * 2).min(WAIT.1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
