//! Serves a port's plugin on its socket in the kubelet's folder.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Server;

use crate::kubelet_watch::SocketMark;
use crate::plugin::{self, PortPlugin};
use crate::wire::device_plugin::{
    ALLOCATE, AllocateRequest, Empty, LIST_AND_WATCH, OPTIONS, PRE_START, PREFERRED,
    PreStartContainerRequest, PreferredAllocationRequest, PreferredAllocationResponse,
};
use crate::wire::{no_such_method, server_stream, unary};

/// What open calls get to end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// A port could not be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {}: {source}; check that the folder exists and that this program runs as root", socket.display())]
pub struct ServeError {
    socket: PathBuf,
    source: std::io::Error,
}

/// A plugin that is being served.
#[derive(Debug)]
pub struct PluginServer {
    socket: PathBuf,
    mark: Option<SocketMark>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PluginServer {
    /// Listens at `socket`, in place of whatever has that name, until `stop`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(
        socket: PathBuf,
        plugin: Arc<PortPlugin>,
        stop: CancellationToken,
    ) -> Result<Self, ServeError> {
        let listener = listen(&socket).map_err(|source| ServeError {
            socket: socket.clone(),
            source,
        })?;
        let mark = SocketMark::of(&socket);
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(connection, _)| connection);
            Some((accepted, listener))
        });
        let serving = Server::builder().serve_with_incoming_shutdown(
            Calls(plugin),
            Box::pin(incoming),
            stop.clone().cancelled_owned(),
        );
        let name = socket.display().to_string();
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(socket = name, %error, "serving the port ended");
            }
        });
        Ok(Self {
            socket,
            mark,
            stop,
            task,
        })
    }

    /// Whether the socket's file is still the one of this server, and is served.
    pub fn is_there(&self) -> bool {
        self.mark.is_some() && SocketMark::of(&self.socket) == self.mark && !self.task.is_finished()
    }

    /// Ends the streams, closes and removes the socket.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Another one's socket of the same name stays.
        if self.mark.is_some() && SocketMark::of(&self.socket) == self.mark {
            let _ = std::fs::remove_file(&self.socket);
        }
        if tokio::time::timeout(LAST_CALLS, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

fn listen(socket: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(socket)
}

/// The calls of the kubelet (service `v1beta1.DevicePlugin`).
#[derive(Debug, Clone)]
struct Calls(Arc<PortPlugin>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let plugin = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(&plugin, request).await) })
    }
}

async fn answer(port: &PortPlugin, request: http::Request<Body>) -> http::Response<Body> {
    let method = request.uri().path().to_owned();
    match method.as_str() {
        OPTIONS => unary(request, async |_: Empty| Ok(plugin::OPTIONS)).await,
        LIST_AND_WATCH => server_stream(request, |_: Empty| port.list_and_watch()).await,
        ALLOCATE => {
            unary(request, async |request: AllocateRequest| {
                port.allocate(&request)
            })
            .await
        }
        // The options say that it is not offered; a kubelet that asks all the same is told of no preference.
        PREFERRED => {
            unary(request, async |_: PreferredAllocationRequest| {
                Ok(PreferredAllocationResponse::default())
            })
            .await
        }
        PRE_START => {
            unary(request, async |_: PreStartContainerRequest| {
                port.pre_start().map(|()| Empty {})
            })
            .await
        }
        _ => no_such_method(),
    }
}
