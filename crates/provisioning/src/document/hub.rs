//! The hub's part: where the device delivers, and as whom.

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::Secret;

/// Where the device delivers, and as whom: exactly one of `connection_string`, `sas`, `x509` and `dps`. This version delivers with the
/// first two; the others are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// The connection string of the device, or of a module of it: `HostName=…;DeviceId=…;SharedAccessKey=…`.
    pub connection_string: Option<Secret>,
    /// A symmetric key and whose it is.
    pub sas: Option<Sas>,
    /// A certificate and whose it is.
    pub x509: Option<X509>,
    /// The Device Provisioning Service.
    pub dps: Option<Dps>,
    /// The file beside the document with the certificates (PEM) of the hub's private certification authority. Only with `modules`; left out
    /// for the public ones.
    pub ca: Option<String>,
}

/// A device's symmetric key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sas {
    /// The hub's host name, such as `plant.azure-devices.net`.
    pub host: String,
    /// The device id.
    pub device: String,
    /// The module id, for a module identity.
    #[serde(default)]
    pub module: Option<String>,
    /// The key in Base64, 16 to 64 bytes.
    pub key: Secret,
}

/// A device's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct X509 {
    /// The hub's host name, such as `plant.azure-devices.net`.
    pub host: String,
    /// The device id.
    pub device: String,
    /// The certificate and those above it, PEM.
    pub certificate: Secret,
    /// Its private key, PEM.
    pub key: Secret,
}

/// The Device Provisioning Service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dps {
    /// The id scope, such as `0ne00ABCDEF`.
    pub id_scope: String,
    /// The registration id.
    pub registration_id: String,
    /// How the device proves who it is.
    pub attestation: Attestation,
}

/// How a device proves to the Device Provisioning Service who it is: one of `symmetric_key`, `x509` and `tpm`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Attestation {
    /// The enrolment's symmetric key in Base64.
    SymmetricKey(Secret),
    /// A certificate.
    X509 {
        /// The certificate and those above it, PEM.
        certificate: Secret,
        /// Its private key, PEM.
        key: Secret,
    },
    /// The device's TPM.
    Tpm {},
}

impl Hub {
    /// The ways that are given.
    pub(crate) fn ways(&self) -> Vec<&'static str> {
        [
            ("connection_string", self.connection_string.is_some()),
            ("sas", self.sas.is_some()),
            ("x509", self.x509.is_some()),
            ("dps", self.dps.is_some()),
        ]
        .into_iter()
        .filter_map(|(way, is_given)| is_given.then_some(way))
        .collect()
    }
}
