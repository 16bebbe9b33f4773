//! The container runtime's side of the CRI, as far as containers are found and stopped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream;
use serde_json::{Value, json};
use serial_device_plugin::wire::runtime::{
    CONTAINER_RUNNING, CONTAINER_STATUS, Container, ContainerStatusRequest,
    ContainerStatusResponse, LABEL_CONTAINER, LABEL_NAMESPACE, LABEL_POD, LIST_CONTAINERS,
    ListContainersRequest, ListContainersResponse, STOP_CONTAINER, StopContainerRequest,
    StopContainerResponse,
};
use serial_device_plugin::wire::{no_such_method, unary};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Server;

use super::until;

#[derive(Debug, Default)]
struct Known {
    containers: Vec<(Container, Value)>,
    stopped: Vec<(String, i64)>,
    lists: usize,
}

pub(crate) struct ContainerRuntime {
    known: Arc<Mutex<Known>>,
    server: JoinHandle<()>,
}

impl Drop for ContainerRuntime {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ContainerRuntime {
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let known = Arc::new(Mutex::new(Known::default()));
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(connection, _)| connection);
            Some((accepted, listener))
        });
        let serving =
            Server::builder().serve_with_incoming(Calls(Arc::clone(&known)), Box::pin(incoming));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { known, server }
    }

    /// A container that was given a device node, as containerd tells of it.
    pub(crate) fn with_device(&self, id: &str, port: &str, host_path: &Path, number: (u32, u32)) {
        let at = format!("/dev/fieldgate/serial-{port}");
        self.add(id, &json!({
            "config": {"devices": [{"container_path": at, "host_path": host_path, "permissions": "rw"}]},
            "runtimeSpec": {"linux": {"devices": [{"path": at, "type": "c", "major": number.0, "minor": number.1}]}},
        }));
    }

    /// A container that was given a mount.
    pub(crate) fn with_mount(&self, id: &str, port: &str, host_path: &Path, source: &Path) {
        let at = format!("/dev/fieldgate/serial-{port}");
        self.add(id, &json!({
            "config": {"mounts": [{"container_path": at, "host_path": host_path}]},
            "runtimeSpec": {"mounts": [{"destination": at, "type": "bind", "source": source, "options": ["rbind"]}]},
        }));
    }

    fn add(&self, id: &str, info: &Value) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let labels = [
            (LABEL_NAMESPACE, "fieldgate"),
            (LABEL_POD, "modbus-reader-1"),
            (LABEL_CONTAINER, "modbus-reader"),
        ];
        let container = Container {
            id: id.to_owned(),
            state: CONTAINER_RUNNING,
            created_at: i64::try_from(since.as_nanos()).unwrap(),
            labels: HashMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        };
        let mut known = self.known.lock().unwrap();
        known.containers.push((container, info.clone()));
    }

    pub(crate) fn stopped(&self) -> Vec<(String, i64)> {
        self.known.lock().unwrap().stopped.clone()
    }

    /// Waits until so many containers were stopped in all.
    pub(crate) async fn has_stopped(&self, count: usize) -> Vec<(String, i64)> {
        until(&format!("{count} stopped containers"), || {
            Some(self.stopped()).filter(|stopped| stopped.len() >= count)
        })
        .await
    }

    /// Waits until it was asked twice from now on: the second time whatever the first one led to is decided.
    pub(crate) async fn was_asked(&self) {
        let lists = || self.known.lock().unwrap().lists;
        let before = lists();
        until("being asked", || (lists() >= before + 2).then_some(())).await;
    }
}

#[derive(Clone)]
struct Calls(Arc<Mutex<Known>>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let known = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match request.uri().path() {
                LIST_CONTAINERS => {
                    unary(request, async |request| {
                        known.lock().unwrap().list(&request)
                    })
                    .await
                }
                CONTAINER_STATUS => {
                    unary(request, async |request| {
                        known.lock().unwrap().status(&request)
                    })
                    .await
                }
                STOP_CONTAINER => {
                    unary(request, async |request| known.lock().unwrap().stop(request)).await
                }
                _ => no_such_method(),
            })
        })
    }
}

impl Known {
    fn list(&mut self, request: &ListContainersRequest) -> Result<ListContainersResponse, Status> {
        let state = request
            .filter
            .as_ref()
            .and_then(|filter| filter.state.as_ref());
        assert_eq!(state.map(|state| state.state), Some(CONTAINER_RUNNING));
        self.lists += 1;
        let containers = self.containers.iter();
        Ok(ListContainersResponse {
            containers: containers.map(|(container, _)| container.clone()).collect(),
        })
    }

    fn status(&self, request: &ContainerStatusRequest) -> Result<ContainerStatusResponse, Status> {
        assert!(request.verbose);
        let mut containers = self.containers.iter();
        let found = containers.find(|(container, _)| container.id == request.container_id);
        let (_, info) = found.ok_or_else(|| Status::not_found("no such container"))?;
        Ok(ContainerStatusResponse {
            info: HashMap::from([("info".to_owned(), info.to_string())]),
        })
    }

    fn stop(&mut self, request: StopContainerRequest) -> Result<StopContainerResponse, Status> {
        let id = &request.container_id;
        self.containers.retain(|(container, _)| container.id != *id);
        self.stopped.push((request.container_id, request.timeout));
        Ok(StopContainerResponse {})
    }
}
