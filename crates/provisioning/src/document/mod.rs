//! `fieldgate-provision.yaml`, typed.

mod hub;
mod network;
mod secret;

use std::collections::BTreeMap;

use k3s_manifest_gen::Appliance;
use k3s_manifest_gen::description::{Broker, Module, ModuleDocument, SerialPort};
use module_runtime::configuration::{CheckedSchema, SchemaError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use hub::{Attestation, Dps, Hub, Sas, X509};
pub use network::{Interface, Ipv6, Network, Proxy, Wifi, WifiSecurity};
pub use secret::{Secret, SecretFile, TAKEN};

pub(crate) use network::has_credentials;
pub(crate) use secret::is_taken;

/// What a device is told before its first work: `fieldgate-provision.yaml`. Files that it names lie beside it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// The device's host name and the appliance's name, the source of its events. 1 to 32 of a–z, 0–9 and `-`, no `-` at either end.
    pub name: String,
    /// How the device reaches its networks. Left out, every wired interface asks by DHCP.
    #[serde(default)]
    pub network: Network,
    /// Where the time comes from.
    #[serde(default)]
    pub time: Time,
    /// Where the device delivers, and as whom. Left out, it keeps its events until it is told.
    #[serde(default)]
    pub hub: Option<Hub>,
    /// Who may log in over SSH: public keys as in OpenSSH's `authorized_keys`, without options. Empty, SSH stays off.
    #[serde(default)]
    pub ssh: Vec<String>,
    /// The broker between the modules, as in the appliance description. Only with `modules`.
    #[serde(default)]
    pub broker: Option<Broker>,
    /// Serial ports that modules may claim, as in the appliance description. Only with `modules`.
    #[serde(default)]
    pub serial: Vec<SerialPort>,
    /// The modules by name, as in the appliance description; `configuration` is the document itself or a file beside this one. Left out,
    /// the device keeps its demo configuration.
    #[serde(default)]
    pub modules: Option<BTreeMap<String, Module>>,
    /// What a factory reset does.
    #[serde(default)]
    pub factory_reset: FactoryReset,
}

/// Where the time comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// NTP servers, names or addresses; at most 8. Empty, the image's own.
    #[schemars(length(max = 8))]
    pub servers: Vec<String>,
    /// The time zone, such as `Europe/Berlin`, for what people read on the device; events carry UTC. UTC when left out.
    pub zone: Option<String>,
}

/// What a factory reset does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FactoryReset {
    /// Which parts of what was provisioned outlive a factory reset.
    #[schemars(extend("uniqueItems" = true))]
    pub preserve: Vec<Part>,
}

/// A part of what is provisioned.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Interfaces, Wi-Fi, proxy, time servers and time zone.
    Network,
    /// The name.
    Name,
    /// The identity at the hub.
    Hub,
    /// The appliance description and the modules' documents.
    Modules,
    /// The keys that may log in.
    Ssh,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Network,
        Self::Name,
        Self::Hub,
        Self::Modules,
        Self::Ssh,
    ];

    /// The part of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == word)
    }

    /// As the document has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Name => "name",
            Self::Hub => "hub",
            Self::Modules => "modules",
            Self::Ssh => "ssh",
        }
    }
}

impl Provision {
    /// The appliance description that the document makes, where it describes modules: its keys have the same paths in both.
    pub(crate) fn appliance(&self) -> Option<Appliance> {
        let modules = self.modules.clone()?;
        Some(Appliance {
            appliance: self.name.clone(),
            version: k3s_manifest_gen::description::PROGRAM_VERSION.to_owned(),
            namespace: "fieldgate".to_owned(),
            nodes: Vec::new(),
            hub: k3s_manifest_gen::description::Hub {
                ca: self.hub.as_ref().and_then(|hub| hub.ca.clone()),
            },
            broker: self.broker.clone().unwrap_or_default(),
            serial: self.serial.clone(),
            modules,
        })
    }

    /// The files with modules' documents, by module.
    pub(crate) fn module_files(&self) -> impl Iterator<Item = (&String, &String)> {
        self.modules
            .iter()
            .flatten()
            .filter_map(|(name, module)| match &module.configuration {
                Some(ModuleDocument::File(file)) => Some((name, file)),
                _ => None,
            })
    }
}

/// The JSON Schema of the document.
///
/// # Errors
/// When the types of the document make none: a defect of this program.
pub fn provision_schema() -> Result<Value, SchemaError> {
    Ok(CheckedSchema::of::<Provision>()?.schema().clone())
}
