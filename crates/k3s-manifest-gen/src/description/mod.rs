//! The appliance description: which modules with which configuration, the serial ports, the broker and the hub.

mod age;
mod check;
mod documents;
mod hub_document;
mod load;
mod module;
pub(crate) mod names;
mod nodes;
mod quantity;
mod resolve;
mod topic;

use std::collections::BTreeMap;

use module_runtime::configuration::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::Deserialize;

pub use load::description_schema;
pub use module::{
    AppProtocol, CallRight, Egress, Limits, Module, ModuleDocument, Probes, Subscribes,
    SubscriptionDetails,
};
pub use quantity::{Cpu, quantity};
pub use resolve::{Known, ResolvedModule, ResolvedSubscription};
pub use topic::Topic;

/// The version of this program: the tag of our own images when the description names no other.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// One appliance: `appliance.yaml`. Relative paths in it start at the file's own directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Appliance {
    /// The appliance's name: the source of its events. 1 to 32 of A–Z, a–z, 0–9, `.`, `_` and `-`, a letter or digit at both ends.
    pub appliance: String,
    /// The tag of Fieldgate's own images (key `version` of the file); never empty after loading.
    #[serde(skip)]
    #[schemars(skip)]
    pub version: String,
    /// The Kubernetes namespace of the modules and the broker.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The nodes that have folders for volumes, by the names that `kubectl get nodes` shows; replica N of the broker is on the node at
    /// place N. Left out, there is one node, whatever its name.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// How the hub is reached.
    #[serde(default)]
    pub hub: Hub,
    /// The broker between the modules.
    #[serde(default)]
    pub broker: Broker,
    /// Serial ports that modules may claim.
    #[serde(default)]
    pub serial: Vec<SerialPort>,
    /// The modules by name. `modbus-reader` and `iothub-module` have defaults for everything but their configuration, `device-agent` for
    /// everything; any other name is a module of your own.
    #[serde(default)]
    pub modules: BTreeMap<String, Module>,
}

fn default_namespace() -> String {
    "fieldgate".to_owned()
}

/// How the hub is reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// A file with the certificates (PEM) of a private certification authority; iothub-module finds it at
    /// `/etc/fieldgate/hub/ca.pem`. Leave it out for the public ones.
    pub ca: Option<String>,
}

/// The broker between the modules: NATS JetStream with storage on disk.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Broker {
    /// How large the volume of each replica is. At least what the streams take and 64MiB more.
    pub storage: ByteSize,
    /// How much memory the broker may take. 64MiB to 16GiB.
    pub memory: ByteSize,
    /// Another image of the broker than Fieldgate's own.
    pub image: Option<String>,
    /// Another image of the container that sets the streams up than Fieldgate's own.
    pub setup_image: Option<String>,
    /// How many nodes keep each event: 1, 3 or 5. More than one needs as many `nodes`.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u8,
    /// Bounds of the two streams.
    pub streams: Streams,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            storage: ByteSize::from_mib(1024),
            memory: ByteSize::from_mib(128),
            image: None,
            setup_image: None,
            replicas: 1,
            streams: Streams::default(),
        }
    }
}

/// Bounds of the two streams.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// Events (telemetry, alarms, status) that not every subscriber has taken yet; when it is full, the sources keep theirs and
    /// try again. At least 16MiB.
    pub events: ByteSize,
    /// Commands, configuration changes and dead letters, kept whether or not anybody subscribes; when it is full, the oldest goes.
    /// At least 16MiB.
    pub kept: ByteSize,
    /// How long those are kept, 1m to 366d.
    #[serde(deserialize_with = "age::deserialize")]
    #[schemars(schema_with = "age::schema")]
    pub kept_for: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            events: ByteSize::from_mib(256),
            kept: ByteSize::from_mib(64),
            kept_for: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// A serial port of the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SerialPort {
    /// The port's name; a module that lists it finds the line at `/dev/fieldgate/serial-<name>`.
    pub name: String,
    /// The device node on the host; the stable names of /dev/serial/by-id or /dev/serial/by-path survive a restart.
    pub path: String,
}

/// The texts that a description refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// The modules' configuration documents by module.
    pub files: BTreeMap<String, String>,
    /// The certificates of the hub's private certification authority, PEM.
    pub hub_ca: Option<String>,
}
