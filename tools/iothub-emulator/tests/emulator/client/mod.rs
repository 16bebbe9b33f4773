//! Our own client, as iothub-module uses it, against the emulator: both ends of what the product promises on this line.

mod cloud_messages;
mod messages;
mod methods;
mod outages;
mod queue;
mod renewal;
mod twins;

use std::time::Duration;

use crate::support::{Bench, HUB, Login, PATIENCE};
use iothub_client::protocol::{Message, RetryPolicy};
use iothub_client::{
    Client, ClientOptions, ConnectionState, DisconnectReason, HubEvent, Session, Trust,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A running client and what it was told.
struct Peer {
    client: Client,
    events: mpsc::Receiver<HubEvent>,
}

/// Options with short waits, because every test here breaks connections.
fn options(bench: &Bench, login: &Login) -> ClientOptions {
    let mut options = ClientOptions::new(HUB, login.identity.clone(), login.key.clone());
    options.host = "localhost".to_owned();
    options.port = bench.ports().mqtt;
    options.trust = Trust::Pem(std::fs::read(bench.folder.path().join("ca.pem")).unwrap());
    options.retry = RetryPolicy {
        lost: (Duration::from_millis(5), Duration::from_millis(200)),
        refused: (Duration::from_millis(20), Duration::from_millis(200)),
    };
    options
}

impl Peer {
    /// Registers an identity and connects it.
    async fn start(bench: &Bench, client_id: &str) -> Self {
        let login = bench.register(client_id).await;
        Self::with(options(bench, &login))
    }

    fn with(options: ClientOptions) -> Self {
        let (client, events) = Client::start(options).unwrap();
        Self { client, events }
    }

    async fn session(&self) -> Session {
        timeout(PATIENCE, self.client.session())
            .await
            .expect("a connection")
            .unwrap()
    }

    /// Waits for a state of the connection.
    async fn state(
        &self,
        what: &str,
        is_met: impl FnMut(&ConnectionState) -> bool,
    ) -> ConnectionState {
        let mut state = self.client.state();
        match timeout(PATIENCE, state.wait_for(is_met)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("waited in vain for {what}"),
        }
    }

    async fn event(&mut self) -> HubEvent {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event")
            .expect("the client runs")
    }

    /// The next event that is neither a change of the connection nor the desired section that follows one.
    async fn request(&mut self) -> HubEvent {
        loop {
            match self.event().await {
                HubEvent::Connected { .. }
                | HubEvent::Disconnected { .. }
                | HubEvent::Desired { complete: true, .. } => {}
                event => return event,
            }
        }
    }

    /// The next news of the desired section: version, patch, and whether it is the whole section.
    async fn desired(&mut self) -> (u64, Value, bool) {
        loop {
            match self.event().await {
                HubEvent::Connected { .. } | HubEvent::Disconnected { .. } => {}
                HubEvent::Desired {
                    version,
                    patch,
                    complete,
                } => return (version, patch, complete),
                event => panic!("{event:?} instead of desired properties"),
            }
        }
    }

    /// Waits until everything is subscribed: the desired section is read after that.
    async fn ready(&mut self) {
        let (_, _, complete) = self.desired().await;
        assert!(complete);
    }

    /// Why the next connection ended.
    async fn disconnected(&mut self) -> DisconnectReason {
        loop {
            if let HubEvent::Disconnected { reason } = self.event().await {
                return reason;
            }
        }
    }

    /// Sends one message and waits for its PUBACK.
    async fn tell(&self, number: usize) {
        let session = self.session().await;
        let delivery = session.publish(numbered(number, &session)).await.unwrap();
        timeout(PATIENCE, delivery).await.unwrap().unwrap();
    }
}

/// A message that says what it is and on which connection it was sent.
fn numbered(number: usize, session: &Session) -> Message {
    let mut message = Message::json(json!({"n": number}).to_string());
    message.id = Some(format!("n:{number}"));
    let generation = session.generation().to_string();
    message.properties = vec![("generation".to_owned(), generation)];
    message
}

/// What the emulator recorded of one such message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    generation: u64,
    number: usize,
}

/// All recorded messages, in order; each must have its own id, also when it came twice.
async fn recorded(bench: &Bench) -> Vec<Recorded> {
    let read = |message: Value| {
        let number = message["body"]["n"].as_u64().unwrap().try_into().unwrap();
        assert_eq!(
            message["system"]["message-id"],
            format!("n:{number}"),
            "{message}"
        );
        let generation = message["properties"]["generation"].as_str().unwrap();
        Recorded {
            generation: generation.parse().unwrap(),
            number,
        }
    };
    bench.messages().await.into_iter().map(read).collect()
}

async fn numbers(bench: &Bench) -> Vec<usize> {
    let recorded = recorded(bench).await;
    recorded.iter().map(|message| message.number).collect()
}
