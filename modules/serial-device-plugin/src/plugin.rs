//! What a port answers to the kubelet.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::configuration::Port;
use crate::figures;
use crate::plug::{NodeKind, Plug, inspect};
use crate::plug_watch::PortStates;
use crate::wire::device_plugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device, DevicePluginOptions,
    DeviceSpec, HEALTHY, ListAndWatchResponse, Mount, UNHEALTHY,
};

/// [`PortPlugin::pre_start`] is to be called, and none of two like devices is preferred.
pub const OPTIONS: DevicePluginOptions = DevicePluginOptions {
    pre_start_required: true,
    get_preferred_allocation_available: false,
};

/// One port as a resource of the node.
#[derive(Debug)]
pub struct PortPlugin {
    name: String,
    states: watch::Receiver<Arc<PortStates>>,
    listeners: watch::Sender<usize>,
    stop: CancellationToken,
}

impl PortPlugin {
    /// The port of that name; its streams end with `stop`.
    pub fn new(
        name: String,
        states: watch::Receiver<Arc<PortStates>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name,
            states,
            listeners: watch::Sender::new(0),
            stop,
        }
    }

    /// How many streams of [`PortPlugin::list_and_watch`] are open: 0 means that the kubelet does not know the port.
    pub fn listeners(&self) -> watch::Receiver<usize> {
        self.listeners.subscribe()
    }

    /// The port's devices: at once, and again whenever the port is plugged or unplugged.
    pub fn list_and_watch(
        &self,
    ) -> impl Stream<Item = Result<ListAndWatchResponse, Status>> + Send + use<> {
        let watching = Watching {
            name: self.name.clone(),
            states: self.states.clone(),
            stop: self.stop.clone(),
            told: None,
            _listener: Listener::new(&self.listeners),
        };
        stream::unfold(watching, |mut watching| async move {
            let list = watching.next().await?;
            Some((Ok(list), watching))
        })
    }

    /// What containers have to be given so that they find the port.
    ///
    /// # Errors
    /// When the port is not plugged: with its name, its path and the reason.
    pub fn allocate(&self, request: &AllocateRequest) -> Result<AllocateResponse, Status> {
        let containers = request.container_requests.iter();
        let given = containers.map(|container| {
            let ids = Port::device_ids(&self.name);
            if let Some(id) = container.device_ids.iter().find(|id| !ids.contains(id)) {
                return Err(Status::invalid_argument(format!(
                    "{id:?} is no device of the serial port {}; there are {}",
                    self.name,
                    ids.join(" and ")
                )));
            }
            self.given().inspect_err(|error| {
                tracing::warn!(port = self.name, error = error.message(), "not allocated");
            })
        });
        let container_responses = given.collect::<Result<Vec<_>, Status>>()?;
        for response in &container_responses {
            figures::allocated(&self.name);
            tracing::info!(
                port = self.name,
                as_mount = !response.mounts.is_empty(),
                "allocated"
            );
        }
        Ok(AllocateResponse {
            container_responses,
        })
    }

    /// Whether a container of the port may start, for the first time or again. The kubelet's reason for a pod that waits is
    /// then ours; and containerd is not asked to mount a path that is missing, for which it would make a folder of that name.
    ///
    /// # Errors
    /// When the port is not plugged: with its name, its path and the reason.
    pub fn pre_start(&self) -> Result<(), Status> {
        match self.given() {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::info!(
                    port = self.name,
                    reason = error.message(),
                    "a container waits"
                );
                Err(error)
            }
        }
    }

    fn given(&self) -> Result<ContainerAllocateResponse, Status> {
        let path: Option<PathBuf> = self
            .states
            .borrow()
            .get(&self.name)
            .map(|state| state.path.clone());
        let Some(path) = path else {
            return Err(Status::failed_precondition(format!(
                "the serial port {} is no longer configured",
                self.name
            )));
        };
        // Not the state kept: it may be a moment old.
        let node = match inspect(&path) {
            Plug::Plugged(node) => node,
            Plug::Absent(reason) => {
                return Err(Status::failed_precondition(format!(
                    "the serial port {} cannot be given: {} {reason}",
                    self.name,
                    path.display()
                )));
            }
        };
        let Some(host_path) = path.to_str().map(str::to_owned) else {
            return Err(Status::failed_precondition(format!(
                "the serial port {} cannot be given: the path {} is not UTF-8",
                self.name,
                path.display()
            )));
        };
        let container_path = Port::container_path(&self.name);
        let mut given = ContainerAllocateResponse::default();
        match node.kind {
            NodeKind::Device => given.devices.push(DeviceSpec {
                container_path,
                host_path,
                permissions: "rw".to_owned(),
            }),
            NodeKind::Terminal { .. } => given.mounts.push(Mount {
                container_path,
                host_path,
                read_only: false,
            }),
        }
        Ok(given)
    }
}

/// One open stream.
struct Watching {
    name: String,
    states: watch::Receiver<Arc<PortStates>>,
    stop: CancellationToken,
    told: Option<bool>,
    _listener: Listener,
}

impl Watching {
    async fn next(&mut self) -> Option<ListAndWatchResponse> {
        loop {
            let plugged = {
                let states = self.states.borrow_and_update();
                let state = states.get(&self.name);
                state.is_some_and(|state| matches!(state.plug, Plug::Plugged(_)))
            };
            if self.told != Some(plugged) {
                self.told = Some(plugged);
                return Some(list(&self.name, plugged));
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = self.states.changed() => if changed.is_err() { return None },
            }
        }
    }
}

fn list(name: &str, plugged: bool) -> ListAndWatchResponse {
    let health = if plugged { HEALTHY } else { UNHEALTHY };
    let devices = Port::device_ids(name).map(|id| Device {
        id,
        health: health.to_owned(),
    });
    ListAndWatchResponse {
        devices: devices.into(),
    }
}

/// Counts an open stream for as long as it is there.
struct Listener(watch::Sender<usize>);

impl Listener {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
