//! Puts the tasks together, and follows the document.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use module_runtime::{ConfigurationWatch, Health};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::endpoint::Endpoint;
use crate::kubelet_watch::watch_kubelet;
use crate::plug_watch::{PortStates, watch_ports};
use crate::replug::Replug;

/// How long things may go unnoticed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Where inotify tells nothing.
    pub poll: Duration,
    /// A kubelet that took the registration and then has no open stream.
    pub forgotten_after: Duration,
    /// Containers are compared with ports this long after a change, then at growing distances up to 30 times of it.
    pub round: Duration,
}

impl Default for Pace {
    /// 10 s, 10 s and 1 s.
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            forgotten_after: Duration::from_secs(10),
            round: Duration::from_secs(1),
        }
    }
}

/// Gives pods their ports until `stop`; the sockets are gone then.
pub async fn run(
    first: Arc<Configuration>,
    mut watch: ConfigurationWatch<Configuration>,
    health: Health,
    pace: Pace,
    stop: CancellationToken,
) {
    let configuration = watch::Sender::new(Arc::clone(&first));
    let states = watch::Sender::new(Arc::new(PortStates::new()));
    let rounds = watch::Sender::new(0);
    let replug = Replug::new(
        configuration.subscribe(),
        states.subscribe(),
        health.component("container runtime"),
        pace.round,
    );
    let mut endpoints = Endpoints {
        running: BTreeMap::new(),
        states: states.subscribe(),
        rounds: rounds.subscribe(),
        health,
        pace,
        stop: stop.clone(),
    };
    let tasks = [
        tokio::spawn(watch_ports(
            configuration.subscribe(),
            states,
            pace.poll,
            stop.clone(),
        )),
        tokio::spawn(watch_kubelet(
            configuration.subscribe(),
            rounds,
            pace.poll,
            stop.clone(),
        )),
        tokio::spawn(replug.run(stop.clone())),
    ];
    endpoints.follow(&first).await;
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            next = watch.next() => next,
        };
        match next {
            Ok(loaded) => {
                tracing::info!(
                    hash = loaded.hash,
                    ports = loaded.configuration.ports.len(),
                    "new configuration in force"
                );
                configuration.send_replace(Arc::clone(&loaded.configuration));
                endpoints.follow(&loaded.configuration).await;
            }
            Err(error) => {
                for problem in &error.problems {
                    tracing::error!(%problem, "configuration rejected; the one before stays in force");
                }
            }
        }
    }
    endpoints.end().await;
    for task in tasks {
        let _ = task.await;
    }
}

/// The endpoint of each port.
struct Endpoints {
    running: BTreeMap<String, Running>,
    states: watch::Receiver<Arc<PortStates>>,
    rounds: watch::Receiver<u64>,
    health: Health,
    pace: Pace,
    stop: CancellationToken,
}

struct Running {
    directory: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Endpoints {
    /// Ends what is no longer configured, begins what is new. A port's path is not its endpoint's matter.
    async fn follow(&mut self, configuration: &Configuration) {
        let directory = &configuration.kubelet_directory;
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(name, running)| {
                running.directory == *directory
                    && configuration.ports.iter().any(|port| port.name == *name)
            });
        self.running = kept;
        self.end_all(ended).await;
        for port in &configuration.ports {
            if self.running.contains_key(&port.name) {
                continue;
            }
            let stop = self.stop.child_token();
            let endpoint = Endpoint {
                name: port.name.clone(),
                directory: directory.clone(),
                states: self.states.clone(),
                rounds: self.rounds.clone(),
                forgotten_after: self.pace.forgotten_after,
                health: self.health.component(&component(&port.name)),
                stop: stop.clone(),
            };
            let running = Running {
                directory: directory.clone(),
                stop,
                task: tokio::spawn(endpoint.run()),
            };
            self.running.insert(port.name.clone(), running);
        }
    }

    async fn end(mut self) {
        let all = std::mem::take(&mut self.running);
        self.end_all(all).await;
    }

    async fn end_all(&self, ended: BTreeMap<String, Running>) {
        for running in ended.values() {
            running.stop.cancel();
        }
        for (name, running) in ended {
            let _ = running.task.await;
            self.health.remove(&component(&name));
        }
    }
}

/// The port's part of /readyz.
fn component(name: &str) -> String {
    format!("port {name}")
}
