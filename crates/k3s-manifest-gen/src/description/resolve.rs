//! A module with its defaults in place.

use std::collections::BTreeMap;

use module_runtime::configuration::ByteSize;

use super::module::{AppProtocol, CallRight, Egress, Module, Probes, Subscribes};
use super::quantity::Cpu;
use super::topic::Topic;
use super::{Appliance, SerialPort};

/// Port of our modules' programs for their sidecar.
const APP_PORT: u16 = 6000;
/// Port of our modules' health and metrics.
const OPS_PORT: u16 = 9600;
/// Where field devices are: private networks (RFC 1918, RFC 4193) and link-local addresses.
const FIELD: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
];
/// Everywhere: IoT Hub's addresses change without notice.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// MQTT over TLS and over WebSocket, HTTPS.
const HUB_PORTS: [u16; 2] = [8883, 443];

/// Which program a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Fieldgate's modbus-reader.
    ModbusReader,
    /// Fieldgate's iothub-module.
    IothubModule,
    /// Fieldgate's device-agent.
    DeviceAgent,
    /// Somebody's own.
    Custom,
}

impl Known {
    /// By the module's name.
    pub fn of(name: &str) -> Self {
        match name {
            "modbus-reader" => Self::ModbusReader,
            "iothub-module" => Self::IothubModule,
            "device-agent" => Self::DeviceAgent,
            _ => Self::Custom,
        }
    }
}

/// A module with its defaults in place: all that its objects are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModule {
    /// Its name: of the Deployment, the container, the ServiceAccount, the Dapr app.
    pub name: String,
    /// Which program it is.
    pub kind: Known,
    /// Its image; empty only in a description that does not hold.
    pub image: String,
    /// The port for its sidecar; none where nothing calls it and no subscription has a route.
    pub app_port: Option<u16>,
    /// What it speaks on that port.
    pub app_protocol: AppProtocol,
    /// Whether it has a configuration document (`Documents::files` has it by the module's name). Without one of its user's, device-agent
    /// has an empty one.
    pub has_configuration: bool,
    /// Its serial ports.
    pub serial: Vec<SerialPort>,
    /// Topics to which it may publish, in the order of [`Topic::ALL`]; the dead-letter topics of its subscriptions included.
    pub publishes: Vec<Topic>,
    /// Its subscriptions in the order of the description.
    pub subscribes: Vec<ResolvedSubscription>,
    /// What it may call, sorted.
    pub calls: Vec<CallRight>,
    /// Who may call what of it, sorted.
    pub callers: Vec<CallRight>,
    /// The size of its volume; none: no volume.
    pub storage: Option<ByteSize>,
    /// The node it runs on; none: any.
    pub node: Option<String>,
    /// Its own environment variables.
    pub env: BTreeMap<String, String>,
    /// The most processor time.
    pub cpu: Cpu,
    /// The most memory.
    pub memory: ByteSize,
    /// Where Kubernetes asks how it is.
    pub probes: Option<Probes>,
    /// The port of its metrics.
    pub metrics_port: Option<u16>,
    /// Addresses outside the cluster that it may reach.
    pub egress: Vec<Egress>,
}

/// A subscription with its defaults in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedSubscription {
    /// The topic.
    pub topic: Topic,
    /// The name of its Dapr component.
    pub component: String,
    /// The name of its durable consumer: `<module>-<topic>`.
    pub durable: String,
    /// The path of each event; none: the program opens a streaming subscription itself.
    pub route: Option<String>,
    /// The topic for refused events; none for the dead letters themselves.
    pub dead_letter: Option<Topic>,
}

impl Appliance {
    /// A module with its defaults in place.
    pub fn module(&self, name: &str) -> Option<ResolvedModule> {
        self.modules
            .get(name)
            .map(|module| self.resolve(name, module))
    }

    /// All modules with their defaults in place, by name.
    pub fn resolved_modules(&self) -> Vec<ResolvedModule> {
        self.modules
            .iter()
            .map(|(name, module)| self.resolve(name, module))
            .collect()
    }

    /// One of Fieldgate's own images: `fieldgate.io/<name>:<version>`.
    pub fn own_image(&self, name: &str) -> String {
        format!("fieldgate.io/{name}:{}", self.version)
    }

    fn resolve(&self, name: &str, module: &Module) -> ResolvedModule {
        let kind = Known::of(name);
        let own = kind != Known::Custom;
        let subscribes = subscriptions(name, kind, module);
        let mut publishes = module
            .publishes
            .clone()
            .unwrap_or_else(|| default_publishes(kind));
        // The sidecar moves a refused event there in the module's name.
        publishes.extend(subscribes.iter().filter_map(|one| one.dead_letter));
        publishes.sort();
        publishes.dedup();
        let storage = module.storage.or(match kind {
            Known::ModbusReader => Some(ByteSize::from_mib(16)),
            Known::IothubModule => Some(ByteSize::from_mib(2048)),
            Known::DeviceAgent | Known::Custom => None,
        });
        // Folders, serial ports and the agent's socket are on one node; what has none of them may run on any.
        let is_bound = storage.is_some() || !module.serial.is_empty() || kind == Known::DeviceAgent;
        ResolvedModule {
            name: name.to_owned(),
            kind,
            image: match &module.image {
                Some(image) => image.clone(),
                None if own => self.own_image(name),
                None => String::new(),
            },
            app_port: module.app_port.or(own.then_some(APP_PORT)),
            app_protocol: module.app_protocol.unwrap_or_default(),
            has_configuration: module.configuration.is_some() || kind == Known::DeviceAgent,
            serial: self
                .serial
                .iter()
                .filter(|port| module.serial.contains(&port.name))
                .cloned()
                .collect(),
            publishes,
            subscribes,
            calls: self.calls(name, module),
            callers: self.callers(name),
            storage,
            node: module
                .node
                .clone()
                .or_else(|| self.nodes.first().filter(|_| is_bound).cloned()),
            env: module.env.clone(),
            cpu: module.limits.cpu.unwrap_or(Cpu::from_millis(1000)),
            memory: module.limits.memory.unwrap_or(match kind {
                Known::ModbusReader => ByteSize::from_mib(64),
                Known::IothubModule => ByteSize::from_mib(96),
                Known::DeviceAgent => ByteSize::from_mib(48),
                Known::Custom => ByteSize::from_mib(128),
            }),
            probes: module.probes.clone().or_else(|| {
                own.then(|| Probes {
                    port: OPS_PORT,
                    live: "/healthz".to_owned(),
                    ready: "/readyz".to_owned(),
                })
            }),
            metrics_port: module.metrics_port.or(own.then_some(OPS_PORT)),
            egress: module
                .egress
                .clone()
                .unwrap_or_else(|| default_egress(kind)),
        }
    }

    /// What a module may call.
    fn calls(&self, name: &str, module: &Module) -> Vec<CallRight> {
        let written: Vec<String> = match &module.calls {
            Some(calls) => calls.clone(),
            None if Known::of(name) == Known::IothubModule => {
                default_calls(|module| self.modules.contains_key(module))
                    .map(str::to_owned)
                    .collect()
            }
            None => Vec::new(),
        };
        let mut calls: Vec<CallRight> = written
            .iter()
            .filter_map(|call| call.split_once('.'))
            .map(|(app, method)| CallRight {
                app: app.to_owned(),
                method: method.to_owned(),
            })
            .collect();
        calls.sort();
        calls.dedup();
        calls
    }

    /// Who may call what of a module.
    fn callers(&self, name: &str) -> Vec<CallRight> {
        let mut callers = Vec::new();
        for (caller, module) in &self.modules {
            for call in self.calls(caller, module) {
                if call.app == name {
                    callers.push(CallRight {
                        app: caller.clone(),
                        method: call.method,
                    });
                }
            }
        }
        callers.sort();
        callers
    }
}

/// What iothub-module may call when the description does not say it: every command of our own modules that are there.
pub(super) fn default_calls(is_there: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let commands = [
        "device-agent.health",
        "device-agent.reset",
        "device-agent.restart",
        "device-agent.update",
        "device-agent.update-status",
        "modbus-reader.read",
        "modbus-reader.write",
    ];
    commands
        .into_iter()
        .filter(move |command| command.split('.').next().is_some_and(&is_there))
}

fn default_publishes(kind: Known) -> Vec<Topic> {
    match kind {
        Known::ModbusReader => vec![
            Topic::Telemetry,
            Topic::Alarms,
            Topic::Status,
            Topic::Deadletter,
        ],
        Known::IothubModule => vec![
            Topic::Commands,
            Topic::Config,
            Topic::Status,
            Topic::Deadletter,
        ],
        Known::DeviceAgent => vec![Topic::Status],
        Known::Custom => Vec::new(),
    }
}

fn default_egress(kind: Known) -> Vec<Egress> {
    let of = |networks: &[&str], ports: &[u16]| {
        networks
            .iter()
            .map(|cidr| Egress {
                cidr: (*cidr).to_owned(),
                ports: ports.to_vec(),
            })
            .collect()
    };
    match kind {
        Known::ModbusReader => of(&FIELD, &[]),
        Known::IothubModule => of(&ANYWHERE, &HUB_PORTS),
        Known::DeviceAgent | Known::Custom => Vec::new(),
    }
}

fn subscriptions(name: &str, kind: Known, module: &Module) -> Vec<ResolvedSubscription> {
    let of_hub = [Topic::Telemetry, Topic::Status].map(Subscribes::Topic);
    let of_agent = [Subscribes::Topic(Topic::Config)];
    let written: &[Subscribes] = match &module.subscribes {
        Some(written) => written,
        None if kind == Known::IothubModule => &of_hub,
        None if kind == Known::DeviceAgent => &of_agent,
        None => &[],
    };
    written
        .iter()
        .map(|one| {
            let (topic, details) = match one {
                Subscribes::Topic(topic) => (*topic, None),
                Subscribes::Details(details) => (details.topic, Some(details)),
            };
            let component = details.and_then(|details| details.component.clone());
            ResolvedSubscription {
                topic,
                component: component.unwrap_or_else(|| match kind {
                    // As in the self-hosted system, so that one configuration document serves both.
                    Known::IothubModule => format!("pubsub-{topic}"),
                    _ => format!("{name}-{topic}"),
                }),
                durable: format!("{name}-{topic}"),
                route: details.and_then(|details| details.route.clone()),
                dead_letter: match details.and_then(|details| details.dead_letter) {
                    Some(other) => Some(other),
                    None if topic == Topic::Deadletter => None,
                    None => Some(Topic::Deadletter),
                },
            }
        })
        .collect()
}
