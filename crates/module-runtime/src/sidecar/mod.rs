//! The Dapr sidecar as a module sees it.

mod answer;
mod dapr;
mod delivery;
mod error;
mod http;
mod subscription;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use dapr::DaprSidecar;
pub use delivery::{Delivery, Outcome};
pub use error::SidecarError;

/// A boxed future, so that [`Sidecar`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a module asks of its sidecar. An object (`Arc<dyn Sidecar>`), so that a test can put its own in place.
///
/// Every call has a deadline of its own; dropping a call's future gives the call up, the sidecar may still have done it.
pub trait Sidecar: Send + Sync + Debug + 'static {
    /// Publishes events to a topic in bulk. Ok also when single events failed: look at the report.
    ///
    /// Large calls are split to stay within the sidecar's message size; once a part went through, the rest's failure is
    /// told in the report. Deadline: 15 s per part.
    fn publish<'a>(
        &'a self,
        pubsub: &'a str,
        topic: &'a str,
        events: &'a [OutgoingEvent],
    ) -> BoxFuture<'a, Result<PublishReport, SidecarError>>;

    /// Subscribes to a topic for as long as the receiver lives. Connects again for ever, with back-off.
    ///
    /// Must be called inside a tokio runtime.
    fn subscribe(&self, subscription: Subscription) -> mpsc::Receiver<Delivery>;

    /// Calls a method of another application (POST, JSON). Ok with whatever status came back, body whole.
    fn invoke<'a>(
        &'a self,
        app: &'a str,
        method: &'a str,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<InvokeReply, SidecarError>>;

    /// Reads a secret: its keys and values. Deadline: 10 s.
    fn secret<'a>(
        &'a self,
        store: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, SidecarError>>;

    /// Whether the sidecar can serve what this module asks of it (its outbound health). Deadline: 3 s.
    fn healthy(&self) -> BoxFuture<'_, bool>;
}

/// A CloudEvent to publish: its JSON as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// The event's id, for messages about it.
    pub id: String,
    /// The whole event: structured mode, `application/cloudevents+json`.
    pub body: Bytes,
}

/// What became of a bulk publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// Position in the events given, and why; ascending. All others are with the broker.
    pub failed: Vec<(usize, String)>,
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The pub/sub component.
    pub pubsub: String,
    /// The topic.
    pub topic: String,
    /// Where the sidecar puts events that were rejected; without one they are gone.
    ///
    /// daprd 1.18 puts there **every** event without a success: also one answered with retry, and what was in flight
    /// when the stream broke, unless a resiliency policy retries first (`subscription.go`). Where nothing may be lost or
    /// leave its order, give none: publish what can never be handled to the dead-letter topic, and then accept it.
    pub dead_letter: Option<String>,
    /// How many deliveries may be unanswered at once, waiting in the channel or in the module's hands; at least 1.
    pub buffer: usize,
}

/// The answer of another application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokeReply {
    /// HTTP status.
    pub status: u16,
    /// The body, at most 16 MiB.
    pub body: Bytes,
}

/// The largest message in either direction, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;
