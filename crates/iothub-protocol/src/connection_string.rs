//! Connection strings: `HostName=…;DeviceId=…[;ModuleId=…];SharedAccessKey=…[;GatewayHostName=…]`.

use std::fmt;

use crate::identity::{HubIdentity, IdentityError};
use crate::sas::{KeyError, SharedAccessKey};

/// Where and as whom to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// The hub's name: it stands in username and SAS resource.
    pub host_name: String,
    pub identity: HubIdentity,
    pub key: SharedAccessKey,
    /// Where TCP and TLS go instead of `host_name` (observed: Python and Node put only the connection there).
    pub gateway_host_name: Option<String>,
}

/// No variant repeats the text: it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    #[error("connection string lacks {0}; expected HostName=…;DeviceId=…;SharedAccessKey=…")]
    Missing(&'static str),
    #[error(
        "connection string: part {0} is not KEY=VALUE; expected HostName=…;DeviceId=…;SharedAccessKey=…"
    )]
    Part(usize),
    #[error("connection string gives {0} twice")]
    Repeated(&'static str),
    #[error("connection string uses {0}, which is not supported; give SharedAccessKey=…")]
    Unsupported(&'static str),
    #[error("connection string: HostName or GatewayHostName is not a host name")]
    Host,
    #[error("connection string: {0}")]
    Identity(#[from] IdentityError),
    #[error("connection string: {0}")]
    Key(#[from] KeyError),
}

const KEYS: [&str; 7] = [
    "HostName",
    "DeviceId",
    "ModuleId",
    "SharedAccessKey",
    "GatewayHostName",
    "SharedAccessSignature",
    "x509",
];

impl ConnectionString {
    /// Reads a connection string. Keys in any order and case, unknown ones are ignored.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let mut found: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        let parts = text
            .trim()
            .split(';')
            .enumerate()
            .filter(|(_, part)| !part.trim().is_empty());
        for (index, part) in parts {
            // A key ends in '=': only the first one separates.
            let (key, value) = part
                .split_once('=')
                .ok_or(ConnectionStringError::Part(index + 1))?;
            let Some(slot) = KEYS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(key.trim()))
            else {
                continue;
            };
            if found[slot].replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Repeated(KEYS[slot]));
            }
        }
        let [host, device, module, key, gateway, signature, x509] = found;
        for (given, name) in [(signature, "SharedAccessSignature"), (x509, "x509")] {
            if given.is_some() {
                return Err(ConnectionStringError::Unsupported(name));
            }
        }
        let host_name = host_name(host.ok_or(ConnectionStringError::Missing("HostName"))?)?;
        let identity = HubIdentity::new(
            device.ok_or(ConnectionStringError::Missing("DeviceId"))?,
            module,
        )?;
        let key = SharedAccessKey::from_base64(
            key.ok_or(ConnectionStringError::Missing("SharedAccessKey"))?,
        )?;
        Ok(Self {
            host_name,
            identity,
            key,
            gateway_host_name: gateway.map(self::host_name).transpose()?,
        })
    }

    /// The connection string in the clear, key included; therefore no `Display`.
    pub fn reveal(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    /// The host TCP and TLS connect to.
    pub fn tcp_host(&self) -> &str {
        self.gateway_host_name.as_deref().unwrap_or(&self.host_name)
    }

    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        write!(
            out,
            "HostName={};DeviceId={}",
            self.host_name,
            self.identity.device()
        )?;
        if let Some(module) = self.identity.module() {
            write!(out, ";ModuleId={module}")?;
        }
        write!(out, ";SharedAccessKey={}", self.key.to_base64())?;
        if let Some(gateway) = &self.gateway_host_name {
            write!(out, ";GatewayHostName={gateway}")?;
        }
        Ok(())
    }
}

fn host_name(text: &str) -> Result<String, ConnectionStringError> {
    let plausible =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    if text.is_empty() || !text.chars().all(plausible) {
        return Err(ConnectionStringError::Host);
    }
    Ok(text.to_owned())
}
