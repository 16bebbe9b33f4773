//! Everything that needs the hub; starts once its credentials are there, and never keeps the intake waiting.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use iothub_client::{Client, ClientOptions, ConnectionState, HubEvent};
use module_runtime::{Delivery, Sidecar};
use serde_json::Value;
use store_forward::Queue;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::credentials::client_options;
use crate::dead_letter::DeadLetters;
use crate::figures::{Board, HubState, IdentityFigures};
use crate::hub::ClientTwin;
use crate::metered::Metered;
use crate::methods::Methods;
use crate::owners::Owners;
use crate::publisher::Publisher;
use crate::sender::{Batches, Ended, LineOptions, Sender, SenderOptions, SenderParts, batches_of};
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
    pub(super) board: watch::Sender<Board>,
}

/// One identity's connection to the hub.
struct Line {
    name: String,
    client: Client,
}

impl<S: Stream<Item = Delivery> + Unpin + Send + 'static> HubSide<S> {
    pub(super) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.queue.nobody_reads(true);
        let (lines, events) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            started = self.start() => started,
        };
        let clients: Vec<Client> = lines.iter().map(|line| line.client.clone()).collect();
        let outcome = self.work(lines, events, shutdown).await;
        // What was not confirmed within the drain is not waited for a second time.
        let stopped = futures_util::future::join_all(clients.into_iter().map(Client::stop));
        let _ = tokio::time::timeout(DISCONNECT, stopped).await;
        outcome
    }

    /// Tries for ever: a missing secret, file or sidecar may come.
    async fn start(&self) -> (Vec<Line>, mpsc::Receiver<HubEvent>) {
        let mut wait = CREDENTIALS_WAIT.0;
        loop {
            let error = match self.try_start().await {
                Ok(started) => return started,
                Err(error) => error,
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

    /// The identity in `hub` first, with what the hub sends to it, then the others, which only send: all or none, because the set of identities
    /// decides whose an event is.
    async fn try_start(&self) -> Result<(Vec<Line>, mpsc::Receiver<HubEvent>), String> {
        let mut lines = Vec::new();
        let mut events = None;
        for (place, options) in self.try_credentials().await? {
            let name = options.identity.to_string();
            let (client, events_of_it) =
                Client::start(options).map_err(|error| format!("{place}{error}"))?;
            events.get_or_insert(events_of_it);
            lines.push(Line { name, client });
        }
        let events = events.ok_or("there is no identity")?;
        Ok((lines, events))
    }

    /// What each client needs, and where it is configured, for errors.
    async fn try_credentials(&self) -> Result<Vec<(String, ClientOptions)>, String> {
        let Configuration { hub, sending, .. } = &*self.configuration;
        let others = sending.identities.iter().enumerate();
        let others = others.map(|(index, identity)| {
            let place = format!("sending.identities[{index}]: ");
            (place, hub.with_identity(identity))
        });
        let mut all: Vec<(String, ClientOptions)> = Vec::new();
        for (place, hub) in std::iter::once((String::new(), hub.clone())).chain(others) {
            let options = client_options(&hub, &*self.sidecar).await;
            let options = options.map_err(|error| format!("{place}{error}"))?;
            // Two connections of one identity end each other.
            if all.iter().any(|(_, one)| {
                one.identity == options.identity && one.hub_name == options.hub_name
            }) {
                return Err(format!(
                    "{place}the identity {} is used already; give each entry another one",
                    options.identity
                ));
            }
            let options = ClientOptions {
                puback_timeout: sending.watchdog.ceiling.get(),
                ..options
            };
            all.push((place, options));
        }
        Ok(all)
    }

    async fn work(
        self,
        lines: Vec<Line>,
        events: mpsc::Receiver<HubEvent>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let Some(main) = lines.first() else {
            return Ok(());
        };
        let client = main.client.clone();
        let (connection, connection_now) = watch::channel(None);
        let (desired_changes, desired_now) = mpsc::channel(CHANNEL);
        let (commands, commands_now) = mpsc::channel(CHANNEL);
        let refused = Arc::new(Notify::new());
        let twin = ClientTwin::new(client.clone(), Arc::clone(&refused));
        let mut tasks = JoinSet::new();
        tasks.spawn(trust_the_clock(
            client.state(),
            self.queue.clone(),
            shutdown.clone(),
        ));
        let queue = self.queue.clone();
        tasks.spawn(follow_readers(
            lines.iter().map(|line| line.client.state()).collect(),
            move |none| queue.nobody_reads(none),
            shutdown.clone(),
        ));
        let inputs = twin::Inputs {
            statuses: self.statuses,
            own: self.own_status,
            connection: connection_now,
            configuration: self.in_force.clone(),
        };
        let module = self.publisher.module().to_owned();
        tasks.spawn(twin::run(
            twin.clone(),
            module,
            inputs,
            self.dead_letters.clone(),
            shutdown.clone(),
        ));
        let config_topic = self.configuration.config_topic.clone();
        tasks.spawn(desired::run(
            desired_now,
            twin,
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
        let budget = sending
            .budget
            .is_some()
            .then(|| Metered::open(&self.configuration.queue.path, sending.budget_options()));
        if let Some(budget) = &budget {
            tasks.spawn(Arc::clone(budget).run(shutdown.clone()));
        }
        let (batches, batches_now) = watch::channel(Arc::default());
        tasks.spawn(follow_routes(self.in_force, batches, shutdown.clone()));
        let options = SenderOptions {
            line: LineOptions {
                window: sending.window_bounds(self.configuration.hub.window),
                watchdog: sending.watchdog_bounds(),
            },
            schedule: sending.schedule_options(),
            drain: DRAIN,
        };
        let names: Vec<String> = lines.iter().map(|line| line.name.clone()).collect();
        let owners = Arc::new(Owners::new(&names, &self.configuration.routes));
        let mut state = Some(self.state);
        let mut board = Board {
            budget: budget.clone(),
            ..Board::default()
        };
        let mut senders = JoinSet::new();
        for (index, Line { name, client }) in lines.into_iter().enumerate() {
            // The first has a place of its own in the status.
            let hub = state.take().unwrap_or_default();
            let hub_now = hub.subscribe();
            let connection = if index == 0 {
                Some(connection.clone())
            } else {
                None
            };
            tasks.spawn(follow(client.state(), hub, connection, shutdown.clone()));
            let parts = SenderParts {
                hub: client,
                identity: name.clone(),
                queue: self.queue.clone(),
                mine: owners.mine(index),
                dead_letters: self.dead_letters.clone(),
                batches: batches_now.clone(),
                budget: budget.clone(),
                refused: if index == 0 {
                    Arc::clone(&refused)
                } else {
                    Arc::default()
                },
            };
            let sender = Sender::new(parts, options);
            board.identities.push(IdentityFigures {
                name,
                hub: hub_now,
                sender: sender.state(),
            });
            senders.spawn(sender.run(shutdown.clone()));
        }
        self.board.send_replace(board);
        while let Some(ended) = senders.join_next().await {
            match ended? {
                Ended::Finished => {}
                Ended::Unconfirmed(count) => tracing::info!(
                    count,
                    "not everything on the wire was confirmed; it is sent again after the next start"
                ),
                Ended::Stopped => {
                    anyhow::bail!(
                        "the hub's client or the queue stopped while events were being sent"
                    )
                }
            }
        }
        while let Some(joined) = tasks.join_next().await {
            joined?;
        }
        Ok(())
    }
}

/// The hub has taken a token and shown a certificate, both of which are valid for a time: the wall clock is right.
async fn trust_the_clock(
    mut client: watch::Receiver<ConnectionState>,
    queue: Queue,
    shutdown: CancellationToken,
) {
    let connected = tokio::select! {
        () = shutdown.cancelled() => return,
        connected = client.wait_for(ConnectionState::is_connected) => connected.is_ok(),
    };
    if connected && let Err(error) = queue.wall_clock_is_right().await {
        tracing::warn!(%error, "the queue could not note that the clock is right; the time of the next restart does not count in lifetimes");
    }
}

/// Tells whether there is no connection at all: what is stored then is read by nobody for now.
async fn follow_readers(
    mut clients: Vec<watch::Receiver<ConnectionState>>,
    tell: impl Fn(bool),
    shutdown: CancellationToken,
) {
    loop {
        // Each is looked at: a state that was not seen would end the wait below at once.
        let connected = clients
            .iter_mut()
            .map(|client| client.borrow_and_update().is_connected())
            .filter(|connected| *connected);
        tell(connected.count() == 0);
        let changes = clients.iter_mut().map(|client| Box::pin(client.changed()));
        tokio::select! {
            () = shutdown.cancelled() => return,
            (changed, ..) = futures_util::future::select_all(changes) => if changed.is_err() {
                return;
            },
        }
    }
}

/// Routes may change while the module runs, and with them which events share a message.
async fn follow_routes(
    mut in_force: watch::Receiver<Arc<Configuration>>,
    batches: watch::Sender<Arc<Batches>>,
    shutdown: CancellationToken,
) {
    loop {
        let now = batches_of(&in_force.borrow_and_update().routes);
        batches.send_if_modified(|known| {
            let changed = **known != now;
            *known = Arc::new(now);
            changed
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = in_force.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Tells the status and the twin where the connection stands.
async fn follow(
    mut client: watch::Receiver<ConnectionState>,
    state: watch::Sender<HubState>,
    connection: Option<watch::Sender<Option<u64>>>,
    shutdown: CancellationToken,
) {
    loop {
        let now = client.borrow_and_update().clone();
        if let Some(connection) = &connection {
            connection.send_replace(match now {
                ConnectionState::Connected { generation, .. } => Some(generation),
                _ => None,
            });
        }
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test]
    async fn one_connection_is_enough_for_a_reader() {
        let connecting = ConnectionState::Connecting {
            attempt: 0,
            last_error: None,
        };
        let connected = ConnectionState::Connected {
            generation: 1,
            since: SystemTime::now(),
        };
        let (one, one_now) = watch::channel(connecting.clone());
        let (other, other_now) = watch::channel(connecting.clone());
        let (told, mut none) = mpsc::channel(5);
        let shutdown = CancellationToken::new();
        let tell = move |none| told.try_send(none).unwrap();
        let task = tokio::spawn(follow_readers(
            vec![one_now, other_now],
            tell,
            shutdown.clone(),
        ));
        assert_eq!(none.recv().await, Some(true));
        one.send_replace(connected.clone());
        assert_eq!(none.recv().await, Some(false));
        other.send_replace(connected);
        assert_eq!(none.recv().await, Some(false));
        one.send_replace(connecting.clone());
        assert_eq!(none.recv().await, Some(false));
        other.send_replace(connecting);
        assert_eq!(none.recv().await, Some(true));
        shutdown.cancel();
        task.await.unwrap();
        assert_eq!(none.recv().await, None);
    }
}
