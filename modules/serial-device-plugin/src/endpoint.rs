//! One port at the kubelet: serves its plugin, registers it, and does both again whenever the kubelet has lost it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use module_runtime::HealthFlag;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::configuration::Port;
use crate::figures;
use crate::kubelet_watch::{KUBELET_SOCKET, SocketMark};
use crate::plug_watch::PortStates;
use crate::plugin::{OPTIONS, PortPlugin};
use crate::plugin_server::PluginServer;
use crate::wire::device_plugin::{Empty, REGISTER, RegisterRequest, VERSION};
use crate::wire::{CallError, Peer};

/// The kubelet connects to the plugin while it answers, and gives itself 10 s for it (devicemanager/plugin/v1beta1/client.go).
const REGISTERING: Duration = Duration::from_secs(15);

/// One port and what it needs to be registered.
#[derive(Debug)]
pub struct Endpoint {
    /// The port's name.
    pub name: String,
    /// The kubelet's folder.
    pub directory: PathBuf,
    /// The ports' states.
    pub states: watch::Receiver<Arc<PortStates>>,
    /// Changes whenever something may have changed in the folder.
    pub rounds: watch::Receiver<u64>,
    /// How long the kubelet may be without an open stream before it is taken for one that forgot the port.
    pub forgotten_after: Duration,
    /// Ready while registered.
    pub health: HealthFlag,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Why one registration ended.
enum Ended {
    /// By [`Endpoint::stop`].
    Stopped,
    /// To be done again at once.
    Lost(&'static str),
    /// To be done again after a pause.
    Failed(String),
}

impl Endpoint {
    /// Works until `stop`; the socket is gone then.
    pub async fn run(mut self) {
        figures::begin(&self.name);
        let mut backoff = Backoff::default();
        loop {
            match self.register_once(&mut backoff).await {
                Ended::Stopped => return,
                Ended::Lost(reason) => {
                    tracing::info!(port = self.name, reason, "registering again");
                    self.health.not_ready(reason);
                }
                Ended::Failed(reason) => {
                    self.health.not_ready(reason);
                    let wait = backoff.wait();
                    let stop = self.stop.clone();
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.kubelet_changed() => backoff.reset(),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn register_once(&mut self, backoff: &mut Backoff) -> Ended {
        let Some(kubelet) = self.kubelet().await else {
            return Ended::Stopped;
        };
        let serving = self.stop.child_token();
        let plugin = Arc::new(PortPlugin::new(
            self.name.clone(),
            self.states.clone(),
            serving.clone(),
        ));
        let listeners = plugin.listeners();
        let socket = self.directory.join(Port::socket_name(&self.name));
        let server = match PluginServer::start(socket, plugin, serving) {
            Ok(server) => server,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        let stop = self.stop.clone();
        let registered = tokio::select! {
            () = stop.cancelled() => None,
            outcome = self.register() => Some(outcome),
        };
        let ended = match registered {
            None => Ended::Stopped,
            Some(Err(error)) => Ended::Failed(format!(
                "the kubelet did not take the registration: {error}"
            )),
            Some(Ok(())) => {
                backoff.reset();
                figures::registered(&self.name);
                tracing::info!(
                    port = self.name,
                    resource = Port::resource(&self.name),
                    "registered"
                );
                self.health.ready();
                self.stay(kubelet, &server, listeners).await
            }
        };
        server.stop().await;
        ended
    }

    /// Waits for the kubelet's socket; nothing when it is time to stop.
    async fn kubelet(&mut self) -> Option<SocketMark> {
        loop {
            self.rounds.mark_unchanged();
            let socket = self.directory.join(KUBELET_SOCKET);
            if let Some(mark) = SocketMark::of(&socket) {
                return Some(mark);
            }
            self.health.not_ready(format!(
                "waits for the kubelet's socket {}",
                socket.display()
            ));
            tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = self.rounds.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// Waits until the kubelet's socket is another one.
    async fn kubelet_changed(&mut self) {
        let socket = self.directory.join(KUBELET_SOCKET);
        let before = SocketMark::of(&socket);
        while SocketMark::of(&socket) == before {
            if self.rounds.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn register(&self) -> Result<(), CallError> {
        let kubelet = Peer::connect(&self.directory.join(KUBELET_SOCKET)).await?;
        let request = RegisterRequest {
            version: VERSION.to_owned(),
            endpoint: Port::socket_name(&self.name),
            resource_name: Port::resource(&self.name),
            options: Some(OPTIONS),
        };
        let _: Empty = kubelet.call(REGISTER, request, REGISTERING).await?;
        Ok(())
    }

    /// Waits until the registration is no longer worth anything.
    async fn stay(
        &mut self,
        kubelet: SocketMark,
        server: &PluginServer,
        mut listeners: watch::Receiver<usize>,
    ) -> Ended {
        let socket = self.directory.join(KUBELET_SOCKET);
        // One future for all rounds: its time must not begin anew with each.
        let forgotten = nobody_listens(&mut listeners, self.forgotten_after);
        tokio::pin!(forgotten);
        loop {
            if SocketMark::of(&socket) != Some(kubelet) {
                return Ended::Lost("the kubelet restarts");
            }
            if !server.is_there() {
                return Ended::Lost("the port's socket was removed");
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ended::Stopped,
                changed = self.rounds.changed() => if changed.is_err() { return Ended::Stopped },
                () = &mut forgotten => return Ended::Lost("the kubelet no longer listens"),
            }
        }
    }
}

/// Waits until no stream was open for so long.
async fn nobody_listens(listeners: &mut watch::Receiver<usize>, for_so_long: Duration) {
    loop {
        if listeners.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        let again = listeners.wait_for(|count| *count > 0);
        match tokio::time::timeout(for_so_long, again).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
