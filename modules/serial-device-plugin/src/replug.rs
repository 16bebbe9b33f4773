//! Stops containers that hold an outdated device of a port, so that they start again with the right one.
//!
//! Works on states, not on events: whatever was missed while this program, the kubelet or the runtime was away is found at the
//! next round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use module_runtime::HealthFlag;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::figures;
use crate::given::Given;
use crate::plug::Plug;
use crate::plug_watch::{PortState, PortStates};
use crate::runtime_client::{Running, RuntimeClient};
use crate::verdict::{Verdict, judge};
use crate::wire::CallError;

/// Waits between rounds after a change, in units of [`crate::engine::Pace::round`]: containers that were being made meanwhile
/// are seen by the later ones.
const AFTER_A_CHANGE: [u32; 4] = [1, 3, 5, 10];
/// Waits between rounds when nothing changes.
const OTHERWISE: u32 = 30;
/// So often a container is stopped for one state of its port. A runtime that gives the wrong device again after that would do it
/// for ever.
const MOST_STOPS: u32 = 3;
/// Keeps containers and ports together.
#[derive(Debug)]
pub struct Replug {
    configuration: watch::Receiver<Arc<Configuration>>,
    states: watch::Receiver<Arc<PortStates>>,
    health: HealthFlag,
    unit: Duration,
    runtime: Option<(PathBuf, RuntimeClient)>,
    /// What each running container was given: it never changes, a restart gives a new id.
    given: BTreeMap<String, Vec<Given>>,
    /// Containers being stopped.
    stopping: BTreeSet<String>,
    stops: JoinSet<Stopped>,
    /// (container id, port) that were told to need somebody's help.
    told: BTreeSet<(String, String)>,
    /// (container's name, port): for which state of the port it was stopped, and how often.
    stopped_for: BTreeMap<(String, String), (Plug, u32)>,
}

#[derive(Debug)]
struct Stopped {
    id: String,
    name: String,
    /// The ports, and their states for which it was stopped.
    ports: Vec<(String, Plug)>,
    outcome: Result<(), CallError>,
}

impl Replug {
    /// Begins with [`Replug::run`]; `unit` is that of the waits between rounds.
    pub fn new(
        configuration: watch::Receiver<Arc<Configuration>>,
        states: watch::Receiver<Arc<PortStates>>,
        health: HealthFlag,
        unit: Duration,
    ) -> Self {
        Self {
            configuration,
            states,
            health,
            unit,
            runtime: None,
            given: BTreeMap::new(),
            stopping: BTreeSet::new(),
            stops: JoinSet::new(),
            told: BTreeSet::new(),
            stopped_for: BTreeMap::new(),
        }
    }

    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut rounds_since_change = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            let units = AFTER_A_CHANGE.get(rounds_since_change);
            rounds_since_change = rounds_since_change.saturating_add(1);
            let sleep = tokio::time::sleep(self.unit * *units.unwrap_or(&OTHERWISE));
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(stopped) = self.stops.join_next() => {
                        if let Ok(stopped) = stopped {
                            self.stopped(stopped);
                        }
                    }
                    changed = self.states.changed() => {
                        if changed.is_err() { return }
                        rounds_since_change = 0;
                        break;
                    }
                    () = &mut sleep => break,
                }
            }
        }
    }

    async fn round(&mut self) {
        let states = Arc::clone(&self.states.borrow_and_update());
        if states.is_empty() {
            self.given.clear();
            self.told.clear();
            self.stopped_for.clear();
            self.health.ready();
            return;
        }
        match self.ask(&states).await {
            Ok(()) => self.health.ready(),
            Err(error) => {
                // The next round connects anew.
                self.runtime = None;
                self.health.not_ready(format!(
                    "the container runtime cannot be asked who holds the ports: {error}; check runtime_endpoint"
                ));
            }
        }
    }

    async fn ask(&mut self, states: &PortStates) -> Result<(), CallError> {
        let runtime = self.connected().await?;
        let running = runtime.running().await?;
        let ids: BTreeSet<&str> = running
            .iter()
            .map(|container| container.id.as_str())
            .collect();
        self.given.retain(|id, _| ids.contains(id.as_str()));
        self.told.retain(|(id, _)| ids.contains(id.as_str()));
        self.stopped_for.retain(|(_, port), (plug, _)| {
            states.get(port).is_some_and(|state| state.plug == *plug)
        });
        for container in &running {
            if !self.given.contains_key(&container.id) {
                let given = runtime.given(&container.id).await?;
                self.given.insert(container.id.clone(), given);
            }
            self.decide(&runtime, container, states);
        }
        Ok(())
    }

    async fn connected(&mut self) -> Result<RuntimeClient, CallError> {
        let endpoint = self.configuration.borrow().runtime_endpoint.clone();
        if let Some((at, runtime)) = &self.runtime
            && *at == endpoint
        {
            return Ok(runtime.clone());
        }
        let runtime = RuntimeClient::connect(&endpoint).await?;
        self.runtime = Some((endpoint, runtime.clone()));
        Ok(runtime)
    }

    fn decide(&mut self, runtime: &RuntimeClient, container: &Running, states: &PortStates) {
        if self.stopping.contains(&container.id) {
            return;
        }
        let now = nanoseconds_since_1970();
        let given = self.given.get(&container.id).cloned().unwrap_or_default();
        let mut ports = Vec::new();
        for given in given {
            let Some(PortState { plug, .. }) = states.get(&given.port) else {
                continue;
            };
            match judge(&given, container.created_at, now, states) {
                Verdict::Keep => {}
                Verdict::Restart(because) if self.may_stop(container, &given.port, plug) => {
                    tracing::warn!(
                        port = given.port,
                        container = container.name,
                        because,
                        "stopping the container, so that it starts again with the right device"
                    );
                    ports.push((given.port, plug.clone()));
                }
                Verdict::Restart(because) | Verdict::NewPod(because) => {
                    if self.told.insert((container.id.clone(), given.port.clone())) {
                        tracing::error!(
                            port = given.port,
                            container = container.name,
                            because,
                            "the container has the wrong device, and a restart does not help; delete its pod, a new one is asked anew"
                        );
                    }
                }
            }
        }
        if ports.is_empty() {
            return;
        }
        self.stopping.insert(container.id.clone());
        let runtime = runtime.clone();
        let (id, name) = (container.id.clone(), container.name.clone());
        self.stops.spawn(async move {
            let outcome = runtime.stop(&id).await;
            Stopped {
                id,
                name,
                ports,
                outcome,
            }
        });
    }

    /// Whether one more stop of the container for this state of its port may help.
    fn may_stop(&self, container: &Running, port: &str, plug: &Plug) -> bool {
        let key = (container.name.clone(), port.to_owned());
        let before = self.stopped_for.get(&key);
        before.is_none_or(|(stopped_for, times)| stopped_for != plug || *times < MOST_STOPS)
    }

    fn stopped(&mut self, stopped: Stopped) {
        self.stopping.remove(&stopped.id);
        match stopped.outcome {
            Ok(()) => {
                tracing::info!(container = stopped.name, "stopped");
                for (port, plug) in stopped.ports {
                    figures::restarted(&port);
                    let entry = self.stopped_for.entry((stopped.name.clone(), port));
                    let (stopped_for, times) = entry.or_insert_with(|| (plug.clone(), 0));
                    if *stopped_for != plug {
                        (*stopped_for, *times) = (plug, 0);
                    }
                    *times += 1;
                }
            }
            // The next round tries again.
            Err(error) => tracing::warn!(container = stopped.name, %error, "not stopped"),
        }
    }
}

fn nanoseconds_since_1970() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
    })
}
