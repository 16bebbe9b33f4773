//! What is asked of the container runtime.

use std::path::Path;
use std::time::Duration;

use crate::given::Given;
use crate::wire::runtime::{
    CONTAINER_RUNNING, CONTAINER_STATUS, Container, ContainerFilter, ContainerStateValue,
    ContainerStatusRequest, ContainerStatusResponse, LABEL_CONTAINER, LABEL_NAMESPACE, LABEL_POD,
    LIST_CONTAINERS, ListContainersRequest, ListContainersResponse, STOP_CONTAINER,
    StopContainerRequest, StopContainerResponse,
};
use crate::wire::{CallError, Peer};

/// For answers from the runtime's memory.
const ASKING: Duration = Duration::from_secs(10);
/// From the stop signal to the kill.
pub const GRACE: Duration = Duration::from_secs(30);

/// The runtime, and the connection to it. Clones share it.
#[derive(Debug, Clone)]
pub struct RuntimeClient(Peer);

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The runtime's id of it; a restarted container has another one.
    pub id: String,
    /// `namespace/pod/container`, for messages.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_at: i128,
}

impl RuntimeClient {
    /// Connects to the runtime's socket. Deadline: 5 s.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self, CallError> {
        Peer::connect(socket).await.map(Self)
    }

    /// The running containers of pods. Deadline: 10 s.
    ///
    /// # Errors
    /// Of the call.
    pub async fn running(&self) -> Result<Vec<Running>, CallError> {
        let request = ListContainersRequest {
            filter: Some(ContainerFilter {
                state: Some(ContainerStateValue {
                    state: CONTAINER_RUNNING,
                }),
            }),
        };
        let list: ListContainersResponse = self.0.call(LIST_CONTAINERS, request, ASKING).await?;
        Ok(list.containers.into_iter().map(running).collect())
    }

    /// The ports that a container was given; none when it has ended meanwhile. Deadline: 10 s.
    ///
    /// # Errors
    /// Of the call.
    pub async fn given(&self, id: &str) -> Result<Vec<Given>, CallError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let answer: Result<ContainerStatusResponse, CallError> =
            self.0.call(CONTAINER_STATUS, request, ASKING).await;
        let info = match answer {
            Ok(mut status) => status.info.remove("info").unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(Given::all(&info).unwrap_or_else(|error| {
            tracing::warn!(
                container_id = id, %error,
                "the runtime does not tell what a container was given; the container is left alone"
            );
            Vec::new()
        }))
    }

    /// Ends a container: stop signal, 30 s of grace, kill. Its pod's restart policy starts it again. Deadline: 45 s.
    ///
    /// # Errors
    /// Of the call; a container that is gone is none.
    pub async fn stop(&self, id: &str) -> Result<(), CallError> {
        let request = StopContainerRequest {
            container_id: id.to_owned(),
            timeout: GRACE.as_secs().cast_signed(),
        };
        let deadline = GRACE + Duration::from_secs(15);
        let outcome: Result<StopContainerResponse, CallError> =
            self.0.call(STOP_CONTAINER, request, deadline).await;
        match outcome {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn running(container: Container) -> Running {
    let label = |key| container.labels.get(key).map_or("?", String::as_str);
    let name = [LABEL_NAMESPACE, LABEL_POD, LABEL_CONTAINER].map(label);
    Running {
        name: name.join("/"),
        created_at: i128::from(container.created_at),
        id: container.id,
    }
}
