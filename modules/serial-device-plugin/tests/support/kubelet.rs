//! The kubelet's side of the device plugin API.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::stream;
use prost::Message;
use serial_device_plugin::wire::device_plugin::{
    ALLOCATE, AllocateRequest, AllocateResponse, ContainerAllocateRequest,
    ContainerAllocateResponse, Empty, LIST_AND_WATCH, ListAndWatchResponse, PRE_START,
    PreStartContainerRequest, REGISTER, RegisterRequest,
};
use serial_device_plugin::wire::{CallError, Peer, no_such_method, unary};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::{Endpoint, Server};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

use super::{DEADLINE, until};

/// What it knows of one resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resource {
    pub(crate) registrations: usize,
    pub(crate) endpoint: String,
    /// Id and health of each device; none once the stream ended.
    pub(crate) devices: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Known {
    resources: BTreeMap<String, Resource>,
    streams: Vec<JoinHandle<()>>,
    refuse: bool,
}

pub(crate) struct Kubelet {
    directory: PathBuf,
    known: Arc<Mutex<Known>>,
    server: JoinHandle<()>,
}

impl Kubelet {
    /// As the real one: removes every socket of its folder, then makes its own.
    pub(crate) fn start(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).unwrap();
        for entry in fs::read_dir(&directory).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let listener = UnixListener::bind(directory.join("kubelet.sock")).unwrap();
        let known = Arc::new(Mutex::new(Known::default()));
        let calls = Calls {
            directory: directory.clone(),
            known: Arc::clone(&known),
        };
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(connection, _)| connection);
            Some((accepted, listener))
        });
        let serving = Server::builder().serve_with_incoming(calls, Box::pin(incoming));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            directory,
            known,
            server,
        }
    }

    /// Ends like a killed process: its socket's file stays.
    pub(crate) async fn kill(self) {
        self.server.abort();
        let _ = self.server.await;
        for stream in self.known.lock().unwrap().streams.drain(..) {
            stream.abort();
        }
    }

    /// Refuses registrations from now on, or no longer.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.known.lock().unwrap().refuse = refuse;
    }

    /// Forgets every plugin: closes its streams.
    pub(crate) fn forget(&self) {
        for stream in self.known.lock().unwrap().streams.drain(..) {
            stream.abort();
        }
    }

    pub(crate) fn resource(&self, port: &str) -> Option<Resource> {
        let name = format!("fieldgate.io/serial-{port}");
        self.known.lock().unwrap().resources.get(&name).cloned()
    }

    /// Waits until both devices of a port have that health.
    pub(crate) async fn sees(&self, port: &str, health: &str) -> Resource {
        until(&format!("{port} {health}"), || {
            let resource = self.resource(port)?;
            let all = resource.devices.values().all(|has| has == health);
            (all && resource.devices.len() == 2).then_some(resource)
        })
        .await
    }

    /// Waits until a port has registered so often in all.
    pub(crate) async fn registered(&self, port: &str, times: usize) -> Resource {
        until(&format!("{times} registrations of {port}"), || {
            self.resource(port)
                .filter(|resource| resource.registrations >= times)
        })
        .await
    }

    /// Asks for one container with one device.
    pub(crate) async fn allocate(
        &self,
        port: &str,
        id: &str,
    ) -> Result<ContainerAllocateResponse, String> {
        let request = AllocateRequest {
            container_requests: vec![ContainerAllocateRequest {
                device_ids: vec![id.to_owned()],
            }],
        };
        let mut answer: AllocateResponse = self.ask(port, ALLOCATE, request).await?;
        assert_eq!(answer.container_responses.len(), 1);
        Ok(answer.container_responses.remove(0))
    }

    /// Asks before each start of a container.
    pub(crate) async fn pre_start(&self, port: &str, id: &str) -> Result<Empty, String> {
        let request = PreStartContainerRequest {
            device_ids: vec![id.to_owned()],
        };
        self.ask(port, PRE_START, request).await
    }

    async fn ask<In, Out>(
        &self,
        port: &str,
        method: &'static str,
        request: In,
    ) -> Result<Out, String>
    where
        In: Message + 'static,
        Out: Message + Default + 'static,
    {
        let endpoint = self.resource(port).unwrap().endpoint;
        let peer = Peer::connect(&self.directory.join(endpoint)).await.unwrap();
        match peer.call(method, request, DEADLINE).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Refused { status, .. }) => Err(status.message().to_owned()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Clone)]
struct Calls {
    directory: PathBuf,
    known: Arc<Mutex<Known>>,
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                REGISTER => {
                    unary(request, move |request: RegisterRequest| {
                        calls.clone().register(request)
                    })
                    .await
                }
                _ => no_such_method(),
            })
        })
    }
}

impl Calls {
    /// Connects to the plugin before it answers, and listens to its stream from then on.
    async fn register(self, request: RegisterRequest) -> Result<Empty, Status> {
        assert_eq!(request.version, "v1beta1");
        assert!(request.options.unwrap_or_default().pre_start_required);
        if self.known.lock().unwrap().refuse {
            return Err(Status::unknown("refused by the test"));
        }
        let socket = self.directory.join(&request.endpoint);
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .unwrap()
            .connect()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let name = request.resource_name;
        {
            let mut known = self.known.lock().unwrap();
            let resource = known.resources.entry(name.clone()).or_default();
            resource.registrations += 1;
            resource.endpoint = request.endpoint;
        }
        let known = Arc::clone(&self.known);
        let listening = tokio::spawn(async move {
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let codec: ProstCodec<Empty, ListAndWatchResponse> = ProstCodec::default();
            let path = PathAndQuery::from_static(LIST_AND_WATCH);
            let mut stream = client
                .server_streaming(Empty {}.into_request(), path, codec)
                .await
                .unwrap()
                .into_inner();
            while let Ok(Some(list)) = stream.message().await {
                let devices = list.devices.into_iter();
                let devices = devices.map(|device| (device.id, device.health)).collect();
                known
                    .lock()
                    .unwrap()
                    .resources
                    .entry(name.clone())
                    .or_default()
                    .devices = devices;
            }
            known
                .lock()
                .unwrap()
                .resources
                .entry(name)
                .or_default()
                .devices
                .clear();
        });
        self.known.lock().unwrap().streams.push(listening);
        Ok(Empty {})
    }
}
