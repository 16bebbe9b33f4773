//! The device side of IoT Hub on MQTT 3.1.1 over TLS.
//!
//! [`Client::start`] keeps one connection for one identity and reconnects for ever. Each connection is a generation with a [`Session`] of its
//! own: when the connection ends, everything in flight on it fails with [`SendError::ConnectionLost`] and nothing is sent again from here.
//! The caller's queue stays the only authority on what is sent, again and in which order.
//!
//! Protocol facts are in the crate `iothub-protocol`; why the MQTT library underneath stays invisible is in docs/decisions/0001.

mod client;
mod connection;
mod event;
mod explain;
mod in_flight;
mod options;
mod outbox;
mod request;
mod session;
mod state;
mod supervisor;
mod tls;
mod transport;

pub use client::{Client, Stopped};
pub use event::{AnswerError, CloudMessage, HubEvent, MethodCall};
pub use iothub_protocol as protocol;
pub use options::{ClientOptions, StartError, Trust};
pub use request::RequestError;
pub use session::{Delivery, SendError, Session};
pub use state::{ConnectionState, DisconnectReason};
