//! The hub's part of the configuration: where, as whom, and with which key.

use std::path::PathBuf;

use module_runtime::configuration::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::defaults;

/// The hub and the identity on it. The identity comes from exactly one of `connection_string`, `connection_string_file`, or `name`,
/// `device` and `key_file` together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubConfiguration {
    /// The connection string as a secret of a Dapr secret store.
    #[serde(default)]
    pub connection_string: Option<SecretReference>,
    /// A file that holds the connection string and nothing else.
    #[serde(default)]
    pub connection_string_file: Option<PathBuf>,
    /// The hub's name, `{hub}.azure-devices.net`.
    #[serde(default)]
    pub name: Option<String>,
    /// The device id.
    #[serde(default)]
    pub device: Option<String>,
    /// The module id, for a module identity.
    #[serde(default)]
    pub module: Option<String>,
    /// A file that holds the identity's key in Base64.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The host to connect to, if it is not the hub's name (a gateway, a test).
    #[serde(default)]
    pub host: Option<String>,
    /// The TCP port of MQTT over TLS.
    #[serde(default = "defaults::port")]
    pub port: u16,
    /// Certificates (PEM) to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// MQTT keep-alive, 5s to 1177s.
    #[serde(default = "defaults::keep_alive")]
    pub keep_alive: Duration,
    /// Life of a SAS token, 10s to 24h; it is renewed before it ends.
    #[serde(default = "defaults::sas_lifetime")]
    pub sas_lifetime: Duration,
    /// Messages sent and not yet confirmed at most, 1 to 1000; how many it is, follows the line (`sending.window`).
    #[serde(default = "defaults::window")]
    pub window: u16,
}

/// A value in a Dapr secret store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretReference {
    /// The secret store component.
    pub store: String,
    /// The secret.
    pub name: String,
    /// The key within the secret; without it, the secret's name.
    #[serde(default)]
    pub key: Option<String>,
}

/// Where the identity's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubCredentials<'a> {
    /// A connection string in a secret store.
    Secret(&'a SecretReference),
    /// A connection string in a file.
    ConnectionStringFile(&'a PathBuf),
    /// The parts one by one.
    KeyFile {
        /// The hub's name.
        name: &'a str,
        /// The device id.
        device: &'a str,
        /// The module id.
        module: Option<&'a str>,
        /// The file with the key.
        key_file: &'a PathBuf,
    },
}

impl HubConfiguration {
    /// The one way that is given; the error says what is missing or too much.
    ///
    /// # Errors
    /// None, several, or an incomplete way.
    pub fn credentials(&self) -> Result<HubCredentials<'_>, &'static str> {
        let parts = self.name.is_some()
            || self.device.is_some()
            || self.module.is_some()
            || self.key_file.is_some();
        match (&self.connection_string, &self.connection_string_file, parts) {
            (Some(secret), None, false) => Ok(HubCredentials::Secret(secret)),
            (None, Some(file), false) => Ok(HubCredentials::ConnectionStringFile(file)),
            (None, None, true) => match (&self.name, &self.device, &self.key_file) {
                (Some(name), Some(device), Some(key_file)) => Ok(HubCredentials::KeyFile {
                    name,
                    device,
                    module: self.module.as_deref(),
                    key_file,
                }),
                _ => Err("an identity in parts needs all of name, device and key_file"),
            },
            (None, None, false) => Err(
                "no identity; give one of connection_string, connection_string_file, or name, device and key_file",
            ),
            _ => Err(
                "more than one identity; keep one of connection_string, connection_string_file, or name, device, module and key_file",
            ),
        }
    }
}
