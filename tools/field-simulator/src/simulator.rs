//! Starts what a plan describes and stops it again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::device::SimulatedDevice;
use crate::plan::{Plan, PlanError, SerialEndpoint, TcpEndpoint};
use crate::serial::{self, Line};
use crate::tcp;
use crate::units::Units;

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(
        "cannot listen on {listen}: {source}; choose another port in the plan, or 0 for a free one"
    )]
    Listen {
        listen: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot make the serial line {link}: {source}", link = link.display())]
    Line {
        link: PathBuf,
        source: std::io::Error,
    },
}

/// Where a device can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The real address, also where the plan said port 0.
    Listen(SocketAddr),
    Link(PathBuf),
}

/// Running devices; they stop when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    devices: Vec<(Arc<SimulatedDevice>, Reach)>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Simulator {
    /// Opens every listener and line of the plan and answers from then on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first listener or line that cannot be opened; nothing keeps running then.
    pub async fn start(plan: &Plan) -> Result<Self, StartError> {
        plan.check()?;
        let mut started = Self {
            devices: Vec::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let mut listeners: BTreeMap<&TcpEndpoint, Units> = BTreeMap::new();
        let mut lines: BTreeMap<&SerialEndpoint, Units> = BTreeMap::new();
        for device in &plan.devices {
            let running = Arc::new(SimulatedDevice::new(plan, device));
            match (&device.tcp, &device.serial) {
                (Some(tcp), _) => listeners.entry(tcp).or_default().add(running),
                (None, Some(serial)) => lines.entry(serial).or_default().add(running),
                (None, None) => {}
            }
        }
        for (endpoint, units) in listeners {
            let failed = |source| StartError::Listen {
                listen: endpoint.listen,
                source,
            };
            let listener = TcpListener::bind(endpoint.listen).await.map_err(failed)?;
            let reach = Reach::Listen(listener.local_addr().map_err(failed)?);
            let units = started.register(units, &reach);
            started
                .tasks
                .spawn(tcp::serve(listener, units, started.stop.clone()));
        }
        for (endpoint, units) in lines {
            let failed = |source| StartError::Line {
                link: endpoint.link.clone(),
                source,
            };
            let line = Line::open(&endpoint.link).map_err(failed)?;
            let units = started.register(units, &Reach::Link(endpoint.link.clone()));
            started
                .tasks
                .spawn(serial::serve(line, units, started.stop.clone()));
        }
        // In the order of the plan, as its author knows them.
        let place = |device: &SimulatedDevice| {
            plan.devices
                .iter()
                .position(|planned| planned.name == device.device().name)
        };
        started.devices.sort_by_key(|(device, _)| place(device));
        Ok(started)
    }

    /// All devices in the order of the plan.
    pub fn devices(&self) -> impl Iterator<Item = (&Arc<SimulatedDevice>, &Reach)> {
        self.devices.iter().map(|(device, reach)| (device, reach))
    }

    #[must_use]
    pub fn device(&self, name: &str) -> Option<&Arc<SimulatedDevice>> {
        self.devices()
            .map(|(device, _)| device)
            .find(|device| device.device().name == name)
    }

    /// Closes everything and waits until it is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn register(&mut self, units: Units, reach: &Reach) -> Arc<Units> {
        let units = Arc::new(units);
        self.devices.extend(
            units
                .all()
                .map(|device| (Arc::clone(device), reach.clone())),
        );
        units
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
