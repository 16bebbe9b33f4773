//! Calls to the kubelet and to the container runtime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, IntoRequest, Status};
use tonic_prost::ProstCodec;

/// The largest answer taken, in bytes; the runtime itself sends at most 16 MiB.
const MOST_BYTES: usize = 16 << 20;
const CONNECT: Duration = Duration::from_secs(5);

/// A call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens at the socket.
    #[error("cannot connect to {}: {reason}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// No answer in time.
    #[error("{method} at {} did not answer within {deadline:?}", socket.display())]
    Late {
        /// The socket.
        socket: PathBuf,
        /// The call.
        method: &'static str,
        /// How long was waited.
        deadline: Duration,
    },
    /// The other side refused, or the connection broke.
    #[error("{method} at {} failed: {} ({:?})", socket.display(), status.message(), status.code())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The call.
        method: &'static str,
        /// Its answer.
        status: Status,
    },
}

impl CallError {
    /// Whether what was asked about does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code() == Code::NotFound)
    }
}

/// A server behind a Unix socket. Clones share the connection, which ends with the last one.
#[derive(Debug, Clone)]
pub struct Peer {
    socket: PathBuf,
    channel: Channel,
}

impl Peer {
    /// Connects. Deadline: 5 s.
    ///
    /// # Errors
    /// When nobody listens at the socket, or its path is not UTF-8.
    pub async fn connect(socket: &Path) -> Result<Self, CallError> {
        let failed = |reason: String| CallError::Connect {
            socket: socket.to_owned(),
            reason,
        };
        let Some(path) = socket.to_str() else {
            return Err(failed("the path is not UTF-8".to_owned()));
        };
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|error| failed(words(&error)))?;
        match tokio::time::timeout(CONNECT, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Self {
                socket: socket.to_owned(),
                channel,
            }),
            Ok(Err(error)) => Err(failed(words(&error))),
            Err(_) => Err(failed(format!("no answer within {CONNECT:?}"))),
        }
    }

    /// One request, one answer. `method` is `/package.Service/Method`.
    ///
    /// # Errors
    /// When the call is refused or not answered within the deadline.
    pub async fn call<In, Out>(
        &self,
        method: &'static str,
        request: In,
        deadline: Duration,
    ) -> Result<Out, CallError>
    where
        In: Message + 'static,
        Out: Message + Default + 'static,
    {
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MOST_BYTES);
        let refused = |status: Status| CallError::Refused {
            socket: self.socket.clone(),
            method,
            status,
        };
        let answering = async {
            client
                .ready()
                .await
                .map_err(|error| Status::unavailable(words(&error)))?;
            let codec: ProstCodec<In, Out> = ProstCodec::default();
            client
                .unary(
                    request.into_request(),
                    PathAndQuery::from_static(method),
                    codec,
                )
                .await
        };
        match tokio::time::timeout(deadline, answering).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refused(status)),
            Err(_) => Err(CallError::Late {
                socket: self.socket.clone(),
                method,
                deadline,
            }),
        }
    }
}

/// An error with its causes: tonic's own words are only "transport error". A cause repeats what its own causes say.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
