//! What a client needs to know.

use std::time::Duration;

use iothub_protocol::limits::KEEP_ALIVE;
use iothub_protocol::{
    ConnectionString, ConnectionStringError, HubIdentity, RetryPolicy, SharedAccessKey,
};

/// Settings of a [`crate::Client`]; start from [`ClientOptions::from_connection_string`] or [`ClientOptions::new`] and change fields.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where TCP and TLS go; the server's certificate must be for this name.
    pub host: String,
    /// Default 8883.
    pub port: u16,
    /// The name of the hub in username and SAS resource. Differs from `host` behind a gateway.
    pub hub_name: String,
    pub identity: HubIdentity,
    pub key: SharedAccessKey,
    /// Default: the system's roots.
    pub trust: Trust,
    /// 1 s to 1177 s (above, the hub's own limit acts first), default 60 s. A dead connection shows after twice this time, or after
    /// `puback_timeout` while messages are under way.
    pub keep_alive: Duration,
    /// How long a SAS token is good for; it is renewed at 80 to 85 % of it by a new connection. At least 1 s, default 1 h.
    pub sas_lifetime: Duration,
    /// Messages in flight, 1 to 1000, default 64.
    pub window: u16,
    /// Who connects, for the hub's statistics, e.g. `fieldgate/0.1.0`.
    pub product: String,
    /// A message without PUBACK for this long ends the connection. At least 100 ms, default 30 s.
    pub puback_timeout: Duration,
    /// For name resolution, TCP, TLS and CONNACK together. Default 20 s.
    pub connect_timeout: Duration,
    /// For one try of a twin request; there are up to three. Default 30 s.
    pub twin_timeout: Duration,
    /// How long a planned disconnect waits for PUBACKs. Default 10 s.
    pub drain_timeout: Duration,
    /// How long to wait before connecting again.
    pub retry: RetryPolicy,
}

/// Whose certificates count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The operating system's roots.
    #[default]
    System,
    /// Only these: one or more certificates in PEM.
    Pem(Vec<u8>),
}

/// Why a client does not even start. None of these goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{name} is {value}; allowed is {allowed}")]
    Setting {
        name: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error(
        "the CA file holds no certificate in PEM; give the root certificate of the hub's or gateway's server certificate"
    )]
    NoCertificate,
    #[error("the CA certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the system has no root certificates ({0}); install ca-certificates or give a CA file")]
    NoSystemRoots(String),
}

impl ClientOptions {
    /// Defaults for an identity at a hub that is reached under its own name.
    pub fn new(hub_name: impl Into<String>, identity: HubIdentity, key: SharedAccessKey) -> Self {
        let hub_name = hub_name.into();
        Self {
            host: hub_name.clone(),
            port: 8883,
            hub_name,
            identity,
            key,
            trust: Trust::default(),
            keep_alive: Duration::from_secs(60),
            sas_lifetime: Duration::from_secs(3600),
            window: 64,
            product: concat!("fieldgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            puback_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            twin_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
        }
    }

    /// `HostName=…;DeviceId=…[;ModuleId=…];SharedAccessKey=…[;GatewayHostName=…]`; with a gateway only the connection goes there.
    pub fn from_connection_string(text: &str) -> Result<Self, ConnectionStringError> {
        let parsed = ConnectionString::parse(text)?;
        let mut options = Self::new(parsed.host_name, parsed.identity, parsed.key);
        if let Some(gateway) = parsed.gateway_host_name {
            options.host = gateway;
        }
        Ok(options)
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let second = Duration::from_secs(1);
        let tenth = Duration::from_millis(100);
        let checks = [
            (
                "host",
                self.host.clone(),
                !self.host.is_empty(),
                "a host name",
            ),
            (
                "hub name",
                self.hub_name.clone(),
                !self.hub_name.is_empty(),
                "the hub's host name",
            ),
            (
                "window",
                self.window.to_string(),
                (1..=1000).contains(&self.window),
                "1 to 1000 messages",
            ),
            (
                "keep_alive",
                format!("{:?}", self.keep_alive),
                (second..=KEEP_ALIVE).contains(&self.keep_alive),
                "1 s to 1177 s",
            ),
            (
                "sas_lifetime",
                format!("{:?}", self.sas_lifetime),
                self.sas_lifetime >= second,
                "1 s or more",
            ),
            (
                "puback_timeout",
                format!("{:?}", self.puback_timeout),
                self.puback_timeout >= tenth,
                "100 ms or more",
            ),
            (
                "connect_timeout",
                format!("{:?}", self.connect_timeout),
                self.connect_timeout >= tenth,
                "100 ms or more",
            ),
            (
                "twin_timeout",
                format!("{:?}", self.twin_timeout),
                self.twin_timeout >= tenth,
                "100 ms or more",
            ),
        ];
        match checks.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((name, value, _, allowed)) => Err(StartError::Setting {
                name,
                value,
                allowed,
            }),
            None => Ok(()),
        }
    }
}
