//! Everything that needs the hub; starts once its credentials are there, and never keeps the intake waiting.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use iothub_client::{Client, ClientOptions, ConnectionState, HubEvent};
use module_runtime::{Delivery, Sidecar};
use serde_json::Value;
use store_forward::Queue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::credentials::client_options;
use crate::dead_letter::DeadLetters;
use crate::figures::HubState;
use crate::methods::Methods;
use crate::publisher::Publisher;
use crate::sender::{Ended, LineOptions, Sender, SenderOptions};
use crate::{cloud_message, desired, dispatch, twin};

/// Wait before the credentials are read again: first and longest.
const CREDENTIALS_WAIT: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(15));
/// What is on the wire at shutdown has this long to be confirmed.
const DRAIN: Duration = Duration::from_secs(5);
/// The orderly end of the connection after that.
const DISCONNECT: Duration = Duration::from_secs(2);
const CHANNEL: usize = 64;

pub(super) struct HubSide<S> {
    pub(super) sidecar: Arc<dyn Sidecar>,
    /// The one the module was started with.
    pub(super) configuration: Arc<Configuration>,
    pub(super) in_force: watch::Receiver<Arc<Configuration>>,
    pub(super) queue: Queue,
    pub(super) publisher: Arc<Publisher>,
    pub(super) dead_letters: DeadLetters,
    pub(super) methods: Arc<Methods>,
    pub(super) statuses: S,
    pub(super) own_status: watch::Receiver<Value>,
    pub(super) state: watch::Sender<HubState>,
}

impl<S: Stream<Item = Delivery> + Unpin + Send + 'static> HubSide<S> {
    pub(super) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (client, events) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            started = self.start() => started,
        };
        let outcome = self.work(client.clone(), events, shutdown).await;
        // What was not confirmed within the drain is not waited for a second time.
        let _ = tokio::time::timeout(DISCONNECT, client.stop()).await;
        outcome
    }

    /// Tries for ever: a missing secret, file or sidecar may come.
    async fn start(&self) -> (Client, mpsc::Receiver<HubEvent>) {
        let mut wait = CREDENTIALS_WAIT.0;
        loop {
            let error = match client_options(&self.configuration.hub, &*self.sidecar).await {
                Ok(options) => match Client::start(ClientOptions {
                    puback_timeout: self.configuration.sending.watchdog.ceiling.get(),
                    ..options
                }) {
                    Ok(started) => return started,
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            let new = self.state.send_if_modified(|state| {
                let changed = state.last_error.as_ref() != Some(&error);
                state.last_error = Some(error.clone());
                changed
            });
            if new {
                tracing::warn!(error, "no connection to IoT Hub yet; events are queued");
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(CREDENTIALS_WAIT.1);
        }
    }

    async fn work(
        self,
        client: Client,
        events: mpsc::Receiver<HubEvent>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let (connection, connection_now) = watch::channel(None);
        let (desired_changes, desired_now) = mpsc::channel(CHANNEL);
        let (commands, commands_now) = mpsc::channel(CHANNEL);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(
            client.state(),
            self.state,
            connection,
            shutdown.clone(),
        ));
        let inputs = twin::Inputs {
            statuses: self.statuses,
            own: self.own_status,
            connection: connection_now,
            configuration: self.in_force,
        };
        let module = self.publisher.module().to_owned();
        tasks.spawn(twin::run(
            client.clone(),
            module,
            inputs,
            self.dead_letters.clone(),
            shutdown.clone(),
        ));
        let config_topic = self.configuration.config_topic.clone();
        tasks.spawn(desired::run(
            desired_now,
            client.clone(),
            Arc::clone(&self.publisher),
            config_topic,
            shutdown.clone(),
        ));
        let commands_topic = self.configuration.commands_topic.clone();
        tasks.spawn(cloud_message::run(
            commands_now,
            Arc::clone(&self.publisher),
            commands_topic,
            shutdown.clone(),
        ));
        let targets = dispatch::Targets {
            methods: self.methods,
            desired: desired_changes,
            commands,
        };
        tasks.spawn(dispatch::run(events, targets, shutdown.clone()));

        let sending = &self.configuration.sending;
        let options = SenderOptions {
            line: LineOptions {
                window: sending.window_bounds(self.configuration.hub.window),
                watchdog: sending.watchdog_bounds(),
            },
            schedule: sending.schedule_options(),
            drain: DRAIN,
        };
        let sender = Sender::new(client, self.queue, self.dead_letters, options);
        let ended = sender.run(shutdown.clone()).await;
        match ended {
            Ended::Finished => {}
            Ended::Unconfirmed(count) => tracing::info!(
                count,
                "not everything on the wire was confirmed; it is sent again after the next start"
            ),
            Ended::Stopped => {
                anyhow::bail!("the hub's client or the queue stopped while events were being sent")
            }
        }
        while let Some(joined) = tasks.join_next().await {
            joined?;
        }
        Ok(())
    }
}

/// Tells the status and the twin where the connection stands.
async fn follow(
    mut client: watch::Receiver<ConnectionState>,
    state: watch::Sender<HubState>,
    connection: watch::Sender<Option<u64>>,
    shutdown: CancellationToken,
) {
    loop {
        let now = client.borrow_and_update().clone();
        connection.send_replace(match now {
            ConnectionState::Connected { generation, .. } => Some(generation),
            _ => None,
        });
        state.send_if_modified(|known| {
            let next = told(known, now);
            let changed = *known != next;
            *known = next;
            changed
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = client.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn told(known: &HubState, now: ConnectionState) -> HubState {
    match now {
        ConnectionState::Connected { generation, since } => HubState {
            connections: generation,
            connected_since: Some(since),
            last_error: None,
        },
        ConnectionState::Connecting { last_error, .. } => {
            let last_error = last_error
                .map(|reason| reason.to_string())
                .or_else(|| known.last_error.clone());
            HubState {
                connected_since: None,
                last_error,
                ..known.clone()
            }
        }
        ConnectionState::Disconnected { reason, .. } => HubState {
            connected_since: None,
            last_error: Some(reason.to_string()),
            ..known.clone()
        },
        ConnectionState::Stopped => HubState {
            connected_since: None,
            ..known.clone()
        },
    }
}
