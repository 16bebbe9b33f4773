//! One module of the description, as it is written.

use std::collections::BTreeMap;

use module_runtime::configuration::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::quantity::Cpu;
use super::topic::Topic;

/// One module: what runs, what it may use and how much.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Module {
    /// The module's configuration document, or the file that has it; it becomes `<module>-configuration.yaml` once, and that file is
    /// yours.
    pub configuration: Option<ModuleDocument>,
    /// The image of a module of your own; the node must have it, or be able to fetch it.
    pub image: Option<String>,
    /// The port on which the program takes calls and events from its sidecar. Needed where it is called or a subscription has a route.
    #[schemars(range(min = 1, max = 65535))]
    pub app_port: Option<u16>,
    /// What the program speaks on that port.
    pub app_protocol: Option<AppProtocol>,
    /// Serial ports of the module, by name; a port belongs to one module.
    pub serial: Vec<String>,
    /// Topics to which the module may publish.
    pub publishes: Option<Vec<Topic>>,
    /// Topics from which the module takes events: a name, or a mapping with the details.
    pub subscribes: Option<Vec<Subscribes>>,
    /// Commands of other modules that it may call, as `module.command`.
    pub calls: Option<Vec<String>>,
    /// The size of the volume at `/var/lib/fieldgate/state`, which outlives the pod. At least 16MiB.
    pub storage: Option<ByteSize>,
    /// The node on which the module runs, one of `nodes`: where its field bus is. Left out, a module with storage or a serial port runs on
    /// the first, any other where there is room.
    pub node: Option<String>,
    /// Environment variables of the program. Never a secret: these are readable in the manifests.
    pub env: BTreeMap<String, String>,
    /// The most that the program may take.
    pub limits: Limits,
    /// Where Kubernetes asks how the program is.
    pub probes: Option<Probes>,
    /// The port of the program's Prometheus metrics (`/metrics`).
    #[schemars(range(min = 1, max = 65535))]
    pub metrics_port: Option<u16>,
    /// Addresses outside the cluster that the module may reach. Nothing for a module of your own that says nothing.
    pub egress: Option<Vec<Egress>>,
}

/// A module's configuration document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModuleDocument {
    /// The file that has it, relative to the description.
    File(String),
    /// The document itself.
    Inline(Map<String, Value>),
}

/// What a program speaks on its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

impl AppProtocol {
    /// As the annotation `dapr.io/app-protocol` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// A topic to subscribe to: its name, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Subscribes {
    /// The topic with defaults for everything else.
    Topic(Topic),
    /// With details.
    Details(SubscriptionDetails),
}

/// A subscription with its details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionDetails {
    /// The topic.
    pub topic: Topic,
    /// The name of its Dapr component; `<module>-<topic>` when left out.
    pub component: Option<String>,
    /// The path to which the sidecar posts each event. Left out, the program opens a streaming subscription itself.
    pub route: Option<String>,
    /// The topic for events that the program keeps refusing; `deadletter` when left out.
    pub dead_letter: Option<Topic>,
}

/// The most that a program may take; what is left out has a default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time; 1 core when left out.
    pub cpu: Option<Cpu>,
    /// Memory, 8MiB to 64GiB; the program is ended when it takes more. 128MiB for a module of your own that says nothing.
    pub memory: Option<ByteSize>,
}

/// Where Kubernetes asks how a program is: HTTP GET, any status from 200 to 399 is well.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path that tells whether the program must be started again.
    #[serde(default = "default_live")]
    pub live: String,
    /// The path that tells whether it can do its work.
    #[serde(default = "default_ready")]
    pub ready: String,
}

fn default_live() -> String {
    "/healthz".to_owned()
}

fn default_ready() -> String {
    "/readyz".to_owned()
}

/// Addresses that a module may reach.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// A network such as `192.168.1.0/24`, or one address such as `192.168.1.10/32`.
    pub cidr: String,
    /// TCP ports; every port when empty.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// The right to call one command: of another module ([`ResolvedModule::calls`](super::ResolvedModule::calls)), or of this one by another
/// ([`ResolvedModule::callers`](super::ResolvedModule::callers)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallRight {
    /// The other module.
    pub app: String,
    /// The command.
    pub method: String,
}
