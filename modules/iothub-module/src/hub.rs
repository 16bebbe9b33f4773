//! What the sender and the twin ask of the hub; the real one is iothub-client, a test can put its own in place.

use std::sync::Arc;
use std::time::Duration;

use iothub_client::{Client, ConnectionState, RequestError, SendError, Session};
use iothub_protocol::Message;
use serde_json::Value;
use tokio::sync::Notify;

use crate::pace::Loss;

/// How long the client may take to tell that a connection is lost.
const LOSS_TOLD: Duration = Duration::from_secs(5);

/// No more connections: the client was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Connections to the hub, one after the other.
pub trait Hub: Send + Sync + 'static {
    /// One connection.
    type Connection: Connection;

    /// Waits until there is a connection.
    fn connection(&self) -> impl Future<Output = Result<Self::Connection, Stopped>> + Send;

    /// How the connection with this number was lost. Only for one that was.
    fn loss(&self, generation: u64) -> impl Future<Output = Loss> + Send;
}

/// One connection to the hub, from CONNACK to its loss.
pub trait Connection: Clone + Send + Sync + 'static {
    /// Resolves on PUBACK, or when it is certain that none comes.
    type Confirmation: Future<Output = Result<(), SendError>> + Send + 'static;

    /// Which connection it is; later ones have larger numbers.
    fn generation(&self) -> u64;

    /// Sends a message once there is room in the window. Messages go out in the order of the calls.
    fn publish(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<Self::Confirmation, SendError>> + Send;

    /// Takes the connection for dead, on which a message has waited for `waited`: all that is in flight fails, and another connection is made.
    /// It may not be heard at once; ask again as long as nothing has failed.
    fn give_up(&self, waited: Duration);
}

/// The twin on the hub.
pub trait Twin: Send + Sync + 'static {
    /// Reads the whole desired section and its version.
    fn desired(&self) -> impl Future<Output = Result<(u64, Value), String>> + Send;

    /// Reads the whole reported section.
    fn reported(&self) -> impl Future<Output = Result<Value, String>> + Send;

    /// Merges a patch into the reported properties.
    fn report(&self, patch: &Value) -> impl Future<Output = Result<(), String>> + Send;
}

impl Hub for Client {
    type Connection = Session;

    async fn connection(&self) -> Result<Session, Stopped> {
        self.session().await.map_err(|_| Stopped)
    }

    async fn loss(&self, generation: u64) -> Loss {
        let mut state = self.state();
        let next = state.wait_for(|state| match state {
            ConnectionState::Connected {
                generation: now, ..
            } => *now != generation,
            ConnectionState::Connecting { .. }
            | ConnectionState::Disconnected { .. }
            | ConnectionState::Stopped => true,
        });
        // The client tells a loss at once; without a word it says nothing about the hub.
        let Ok(Ok(next)) = tokio::time::timeout(LOSS_TOLD, next).await else {
            return Loss::Network;
        };
        match &*next {
            ConnectionState::Disconnected { reason, .. }
            | ConnectionState::Connecting {
                last_error: Some(reason),
                ..
            } => Loss::from(reason),
            ConnectionState::Stopped => Loss::Planned,
            ConnectionState::Connecting {
                last_error: None, ..
            }
            | ConnectionState::Connected { .. } => Loss::Network,
        }
    }
}

impl Connection for Session {
    type Confirmation = iothub_client::Delivery;

    fn generation(&self) -> u64 {
        Session::generation(self)
    }

    fn publish(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<Self::Confirmation, SendError>> + Send {
        Session::publish(self, message)
    }

    fn give_up(&self, waited: Duration) {
        Session::give_up(self, waited);
    }
}

/// The twin of a client's identity.
#[derive(Debug, Clone)]
pub struct ClientTwin {
    client: Client,
    throttled: Arc<Notify>,
}

impl ClientTwin {
    /// `throttled` is told when the hub answers a request with 429.
    #[must_use]
    pub fn new(client: Client, throttled: Arc<Notify>) -> Self {
        Self { client, throttled }
    }

    fn told(&self, error: &RequestError) -> String {
        if matches!(error, RequestError::Refused { status: 429, .. }) {
            self.throttled.notify_one();
        }
        error.to_string()
    }
}

impl Twin for ClientTwin {
    async fn desired(&self) -> Result<(u64, Value), String> {
        let twin = self.client.twin().await;
        twin.map(|twin| (twin.desired_version, twin.desired))
            .map_err(|error| self.told(&error))
    }

    async fn reported(&self) -> Result<Value, String> {
        let twin = self.client.twin().await;
        twin.map(|twin| twin.reported)
            .map_err(|error| self.told(&error))
    }

    async fn report(&self, patch: &Value) -> Result<(), String> {
        let version = self.client.report(patch).await;
        version.map(|_| ()).map_err(|error| self.told(&error))
    }
}
