//! What the sender and the twin ask of the hub; the real one is iothub-client, a test can put its own in place.

use std::time::Duration;

use iothub_client::{Client, SendError, Session};
use iothub_protocol::Message;
use serde_json::Value;

/// No more connections: the client was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Connections to the hub, one after the other.
pub trait Hub: Send + Sync + 'static {
    /// One connection.
    type Connection: Connection;

    /// Waits until there is a connection.
    fn connection(&self) -> impl Future<Output = Result<Self::Connection, Stopped>> + Send;
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

impl Twin for Client {
    async fn desired(&self) -> Result<(u64, Value), String> {
        let twin = Client::twin(self)
            .await
            .map_err(|error| error.to_string())?;
        Ok((twin.desired_version, twin.desired))
    }

    async fn reported(&self) -> Result<Value, String> {
        let twin = Client::twin(self)
            .await
            .map_err(|error| error.to_string())?;
        Ok(twin.reported)
    }

    async fn report(&self, patch: &Value) -> Result<(), String> {
        Client::report(self, patch)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}
