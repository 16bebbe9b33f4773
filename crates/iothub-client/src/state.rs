//! What can be seen of the connection from outside.

use std::time::{Duration, SystemTime};

/// Where the client stands; watched through [`crate::Client::state`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// A connection is being made. `attempt` counts from 0 since the last connection that held.
    Connecting {
        attempt: u32,
        last_error: Option<DisconnectReason>,
    },
    /// Connected; `generation` counts from 1 since the start.
    Connected { generation: u64, since: SystemTime },
    /// Waiting before the next attempt.
    Disconnected {
        attempt: u32,
        reason: DisconnectReason,
        retry_in: Duration,
    },
    /// [`crate::Client::stop`] was called, or every handle dropped.
    Stopped,
}

impl ConnectionState {
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// Why a connection ended or did not come about. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// Planned: a new SAS token needs a new connection.
    #[error("planned renewal of the SAS token")]
    Renewal,
    #[error("the client was stopped")]
    Stopped,
    #[error(
        "{host} refused {identity}: wrong key, unknown or disabled identity, or the clock of this machine is wrong ({detail}); check the connection string and the registry"
    )]
    Refused {
        host: String,
        identity: String,
        detail: String,
    },
    #[error(
        "the certificate of {host} is not for this name: {detail}; check the host name or the names in the server's certificate"
    )]
    WrongName { host: String, detail: String },
    #[error(
        "the certificate of {host} is signed by nobody trusted here: {detail}; give the right CA file"
    )]
    Untrusted { host: String, detail: String },
    #[error(
        "the certificate of {host} is not valid at this machine's time: {detail}; check the clock"
    )]
    OutOfTime { host: String, detail: String },
    #[error("TLS with {host}: {detail}")]
    Tls { host: String, detail: String },
    #[error("{host} cannot be reached: {detail}")]
    Unreachable { host: String, detail: String },
    #[error("{host} did not answer within {}", Seconds(.after))]
    ConnectTimeout { host: String, after: Duration },
    #[error("{host} did not acknowledge for {}", Seconds(.after))]
    AckTimeout { host: String, after: Duration },
    #[error("{host} did not answer the keep-alive ping")]
    KeepAlive { host: String },
    /// The hub does this for an expired token, a second connection of the same identity and a forbidden topic, too.
    #[error("the connection to {host} broke: {detail}")]
    Lost { host: String, detail: String },
}

impl DisconnectReason {
    /// Whether this was wanted.
    pub fn is_planned(&self) -> bool {
        matches!(self, Self::Renewal | Self::Stopped)
    }

    /// Whether the hub answered CONNECT with a refusal.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

struct Seconds<'a>(&'a Duration);

impl std::fmt::Display for Seconds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
