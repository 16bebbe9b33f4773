//! The promises of the client, against a small MQTT server over real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail this way"
)]

mod cloud_requests;
mod connection;
mod support;

use std::time::Duration;

use iothub_client::protocol::Message;
use iothub_client::{Client, ConnectionState, DisconnectReason, HubEvent};
use tokio::sync::mpsc;
use tokio::time::timeout;

use support::Hub;

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn numbered(number: usize) -> Message {
    let mut message = Message::json(number.to_string());
    message.id = Some(format!("m:{number}"));
    message
}

pub(crate) fn numbers(hub: &Hub) -> Vec<usize> {
    hub.state()
        .received
        .iter()
        .map(|received| {
            std::str::from_utf8(&received.payload)
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

pub(crate) async fn next(events: &mut mpsc::Receiver<HubEvent>) -> HubEvent {
    timeout(SOON, events.recv())
        .await
        .expect("an event")
        .expect("the client runs")
}

/// The next event that is not a change of the connection.
pub(crate) async fn next_content(events: &mut mpsc::Receiver<HubEvent>) -> HubEvent {
    loop {
        match next(events).await {
            HubEvent::Connected { .. } | HubEvent::Disconnected { .. } => {}
            event => return event,
        }
    }
}

pub(crate) async fn disconnected(client: &Client) -> DisconnectReason {
    let mut state = client.state();
    let state = timeout(
        SOON,
        state.wait_for(|state| matches!(state, ConnectionState::Disconnected { .. })),
    )
    .await
    .unwrap()
    .unwrap()
    .clone();
    let ConnectionState::Disconnected { reason, .. } = state else {
        panic!("{state:?}")
    };
    reason
}
