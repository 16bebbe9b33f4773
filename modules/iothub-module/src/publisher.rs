//! Publishes this module's own events: configuration changes, commands, dead letters.

use std::sync::Arc;
use std::time::Duration;

use measurement::{Event, event_source};
use module_runtime::{OutgoingEvent, Sidecar};

/// One event has this long to reach the broker.
const DEADLINE: Duration = Duration::from_secs(15);

/// The broker did not take an event; trying again later may help.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The sidecar is away, slow or refused the call.
    #[error("{0}")]
    Sidecar(#[from] module_runtime::SidecarError),
    /// The broker refused this event.
    #[error("the broker did not take the event: {0}")]
    Refused(String),
    /// No answer in time.
    #[error("the sidecar did not answer within {DEADLINE:?}")]
    Timeout,
}

/// Where this module publishes, and as whom.
#[derive(Debug)]
pub struct Publisher {
    sidecar: Arc<dyn Sidecar>,
    pubsub: String,
    source: String,
    module: String,
}

impl Publisher {
    /// Publishes through `pubsub` as module `module` of `appliance`.
    #[must_use]
    pub fn new(sidecar: Arc<dyn Sidecar>, pubsub: String, appliance: &str, module: &str) -> Self {
        Self {
            sidecar,
            pubsub,
            source: event_source(appliance, module),
            module: module.to_owned(),
        }
    }

    /// The `source` of every event.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// This module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Publishes one event; it is with the broker when this returns.
    ///
    /// # Errors
    /// The event is not, or not certainly, with the broker. Publishing the same event again is safe.
    pub async fn publish(&self, topic: &str, event: Event) -> Result<(), PublishError> {
        let events = [OutgoingEvent {
            id: event.id,
            body: event.body,
        }];
        let call = self.sidecar.publish(&self.pubsub, topic, &events);
        let report = tokio::time::timeout(DEADLINE, call)
            .await
            .map_err(|_| PublishError::Timeout)??;
        match report.failed.into_iter().next() {
            None => Ok(()),
            Some((_, reason)) => Err(PublishError::Refused(reason)),
        }
    }
}
