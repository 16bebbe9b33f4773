//! The handle to a running client.

use std::sync::Arc;

use iothub_protocol::TwinDocument;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::event::HubEvent;
use crate::options::{ClientOptions, StartError};
use crate::outbox::Outbox;
use crate::request::RequestError;
use crate::session::Session;
use crate::state::ConnectionState;
use crate::supervisor;
use crate::tls;

/// A client for one identity. Clones share the connection; it ends when the last one is dropped or [`Client::stop`] is called.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    _guard: Arc<DropGuard>,
}

/// What handles and the task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ClientOptions,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) session: watch::Sender<Slot>,
    pub(crate) stop: CancellationToken,
}

/// Where [`Client::session`] looks.
#[derive(Debug)]
pub(crate) enum Slot {
    Waiting,
    Live(Session),
    Stopped,
}

/// The client was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the IoT Hub client was stopped")]
pub struct Stopped;

impl Client {
    /// Starts a client on the current tokio runtime. It connects at once and reconnects for ever.
    ///
    /// The receiver gets what the hub sends; dropping it is allowed (methods are then answered with 501).
    pub fn start(options: ClientOptions) -> Result<(Self, mpsc::Receiver<HubEvent>), StartError> {
        options.check()?;
        let tls = tls::configuration(&options.trust)?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            options,
            tls,
            state: watch::Sender::new(ConnectionState::Connecting {
                attempt: 0,
                last_error: None,
            }),
            session: watch::Sender::new(Slot::Waiting),
            stop: stop.clone(),
        });
        let (outbox, events) = Outbox::new();
        tokio::spawn(supervisor::run(shared.clone(), outbox));
        Ok((
            Self {
                shared,
                _guard: Arc::new(stop.drop_guard()),
            },
            events,
        ))
    }

    /// The live session; waits until connected. Cancel safe.
    pub async fn session(&self) -> Result<Session, Stopped> {
        let mut slot = self.shared.session.subscribe();
        let slot = slot
            .wait_for(|slot| !matches!(slot, Slot::Waiting))
            .await
            .map_err(|_| Stopped)?;
        match &*slot {
            Slot::Live(session) => Ok(session.clone()),
            Slot::Waiting | Slot::Stopped => Err(Stopped),
        }
    }

    /// The connection's state, now and at every change.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// Reads the whole twin. Waits for a connection; up to three tries of `twin_timeout` each.
    pub async fn twin(&self) -> Result<TwinDocument, RequestError> {
        self.get_twin().await
    }

    /// Merges `patch` into the reported section (`null` deletes) and returns its new version. Waits for a connection; up to three tries of
    /// `twin_timeout` each. A try whose answer was lost is repeated, which does no harm to a merge patch.
    pub async fn report(&self, patch: &Value) -> Result<u64, RequestError> {
        self.send_report(patch).await
    }

    /// Stops taking messages, waits for PUBACKs up to `drain_timeout`, disconnects and ends the client, for every clone.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        let mut state = self.state();
        let stopped = state.wait_for(|state| *state == ConnectionState::Stopped);
        // The task ends by its own deadlines; this one only keeps a defect there from becoming a hang here.
        if timeout(
            self.options().drain_timeout + Duration::from_secs(10),
            stopped,
        )
        .await
        .is_err()
        {
            tracing::error!("the IoT Hub client did not stop in time");
        }
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }
}
