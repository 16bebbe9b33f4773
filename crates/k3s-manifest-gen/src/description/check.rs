//! What the description's schema cannot say.

use std::collections::{BTreeMap, BTreeSet};

use module_runtime::configuration::{ByteSize, Duration, Path};
use module_runtime::{ModuleConfiguration, Problems, path};

use super::module::{Module, Subscribes};
use super::names::{fault_of_name, is_image, is_network, is_variable};
use super::resolve::Known;
use super::topic::Topic;
use super::{Appliance, Broker};

/// Names that the broker's own objects have.
const TAKEN: [&str; 5] = ["broker", "broker-setup", "setup", "setup-public", "routes"];
/// Files of k3s's manifests folder that are not modules' (k3s 1.34, `manifests/`, and Dapr's): a module of that name would overwrite one,
/// or be disabled with it.
const TAKEN_FILES: [&str; 9] = [
    "ccm",
    "coredns",
    "dapr",
    "dapr-crds",
    "local-storage",
    "metrics-server",
    "rolebindings",
    "runtimes",
    "traefik",
];
/// Ports of the sidecar in every pod.
const SIDECAR_PORTS: [u16; 5] = [3500, 3501, 9090, 50001, 50002];
/// Environment variables that the pod gets anyway, beside those of Dapr.
const TAKEN_VARIABLES: [&str; 6] = [
    "FIELDGATE_APPLIANCE",
    "FIELDGATE_MODULE",
    "FIELDGATE_APP_PORT",
    "FIELDGATE_PUBSUB",
    "FIELDGATE_CONFIG",
    "FIELDGATE_LOCK",
];
/// What a JetStream store needs beside its streams.
const STORE_MARGIN: u64 = 64 << 20;
/// The smallest volume of a module.
const LEAST_STORAGE: ByteSize = ByteSize::from_mib(16);

impl ModuleConfiguration for Appliance {
    fn check(&self, problems: &mut Problems) {
        self.check_names(problems);
        check_broker(&self.broker, problems);
        self.check_nodes(problems);
        self.check_serial(problems);
        if self.hub.ca.is_some() && !self.modules.contains_key("iothub-module") {
            problems.add(
                path!["hub", "ca"],
                "is for iothub-module, which is not among the modules; add it or remove this",
            );
        }
        for (name, module) in &self.modules {
            self.check_module(name, module, problems);
        }
        self.check_components(problems);
    }
}

impl Appliance {
    fn check_names(&self, problems: &mut Problems) {
        let name = &self.appliance;
        let is_end = |letter: char| letter.is_ascii_alphanumeric();
        let is_well = (1..=32).contains(&name.len())
            && name.starts_with(is_end)
            && name.ends_with(is_end)
            && name
                .chars()
                .all(|letter| is_end(letter) || "._-".contains(letter));
        if !is_well {
            problems.add(
                path!["appliance"],
                format!(
                    "{name:?} is no name for an appliance: 1 to 32 of A–Z, a–z, 0–9, '.', '_' and '-', a letter or digit at both ends"
                ),
            );
        }
        if let Some(fault) = fault_of_name(&self.namespace) {
            problems.add(path!["namespace"], fault);
        }
        let is_system = ["default", "dapr-system"].contains(&self.namespace.as_str())
            || self.namespace.starts_with("kube-");
        if is_system {
            problems.add(
                path!["namespace"],
                format!(
                    "{} belongs to Kubernetes or Dapr; take a namespace of its own, such as fieldgate",
                    self.namespace
                ),
            );
        }
    }

    fn check_serial(&self, problems: &mut Problems) {
        let mut names = BTreeMap::new();
        let mut paths = BTreeMap::new();
        for (index, port) in self.serial.iter().enumerate() {
            let at = path!["serial", index];
            if let Some(fault) = fault_of_name(&port.name) {
                problems.add(at.join("name"), fault);
            }
            if !port.path.starts_with("/dev/") || port.path.contains("..") {
                problems.add(
                    at.join("path"),
                    format!(
                        "{:?} is no device node; write a path under /dev, best one of /dev/serial/by-id",
                        port.path
                    ),
                );
            }
            for (what, value, seen) in [
                ("name", &port.name, &mut names),
                ("path", &port.path, &mut paths),
            ] {
                if let Some(other) = seen.insert(value.clone(), at.join(what)) {
                    problems.add(
                        at.join(what),
                        format!(
                            "{value} is at {} already; give each port once",
                            problems.location(other)
                        ),
                    );
                }
            }
        }
        let mut owners: BTreeMap<&str, (&str, Path)> = BTreeMap::new();
        let known: Vec<&str> = self.serial.iter().map(|port| port.name.as_str()).collect();
        for (name, module) in &self.modules {
            for (index, port) in module.serial.iter().enumerate() {
                let at = path!["modules", name, "serial", index];
                if !known.contains(&port.as_str()) {
                    problems.add(
                        at,
                        format!(
                            "there is no serial port {port}; {}",
                            one_of("the ports under serial are", &known, "list it under serial")
                        ),
                    );
                    continue;
                }
                match owners.get(port.as_str()) {
                    None => drop(owners.insert(port, (name, at))),
                    Some((owner, other)) => problems.add(
                        at,
                        format!(
                            "serial port {port} is claimed by {owner} already ({}); one port belongs to one module",
                            problems.location(other)
                        ),
                    ),
                }
            }
        }
    }

    fn check_module(&self, name: &str, module: &Module, problems: &mut Problems) {
        let at = path!["modules", name];
        if let Some(fault) = fault_of_name(name) {
            problems.add_at_key(&at, fault);
        } else if TAKEN.contains(&name) || name.starts_with("fieldgate") {
            problems.add_at_key(
                &at,
                format!("{name} is a name of Fieldgate's own objects; take another"),
            );
        } else if TAKEN_FILES.contains(&name) || name.ends_with("-configuration") {
            problems.add_at_key(
                &at,
                format!(
                    "{name}.yaml is another file in the manifests folder of k3s; take another name"
                ),
            );
        }
        let is_custom = Known::of(name) == Known::Custom;
        match &module.image {
            Some(image) if !is_image(image) => {
                problems.add(at.join("image"), format!("{image:?} is no image reference, such as registry.example/{name}:1.0.0"));
            }
            None if is_custom => problems.add_at_key(
                &at,
                "has no image; a module of your own needs one (Fieldgate's own modules are modbus-reader, iothub-module and device-agent)",
            ),
            _ => {}
        }
        let needs_document = !is_custom && Known::of(name) != Known::DeviceAgent;
        if needs_document && module.configuration.is_none() {
            problems.add_at_key(
                &at,
                format!("has no configuration; add configuration: {name}.yaml with what the module does (docs/reference/{name}.md)"),
            );
        }
        if let Some(storage) = module.storage
            && storage < LEAST_STORAGE
        {
            problems.add(
                at.join("storage"),
                format!("{storage} is too small; at least {LEAST_STORAGE} is allowed"),
            );
        }
        if let Some(memory) = &module.limits.memory {
            problems.check_range(
                at.join("limits").join("memory"),
                memory,
                ByteSize::from_mib(8)..=ByteSize::from_mib(64 << 10),
            );
        }
        check_ports(module, &at, problems);
        check_environment(module, &at, problems);
        check_subscriptions(module, &at, problems);
        self.check_calls(name, module, &at, problems);
        for (index, egress) in module.egress.iter().flatten().enumerate() {
            let at = at.join("egress").join(index);
            if !is_network(&egress.cidr) {
                problems.add(
                    at.join("cidr"),
                    format!(
                        "{:?} is no network; write it as 192.168.1.0/24, one address as 192.168.1.10/32",
                        egress.cidr
                    ),
                );
            }
            for (index, _) in egress
                .ports
                .iter()
                .enumerate()
                .filter(|(_, port)| **port == 0)
            {
                problems.add(
                    at.join("ports").join(index),
                    "0 is no port; 1 to 65535 is allowed",
                );
            }
        }
    }

    fn check_calls(&self, name: &str, module: &Module, at: &Path, problems: &mut Problems) {
        let known: Vec<&str> = self
            .modules
            .keys()
            .map(String::as_str)
            .filter(|other| *other != name)
            .collect();
        for (index, call) in module.calls.iter().flatten().enumerate() {
            let at = at.join("calls").join(index);
            let (app, method) = match call.split_once('.') {
                Some((app, method)) if is_method(method) => (app, method),
                _ => {
                    problems.add(
                        at,
                        format!("{call:?} is no command; write it as module.command, such as modbus-reader.read"),
                    );
                    continue;
                }
            };
            if !known.contains(&app) {
                problems.add(
                    at,
                    format!(
                        "there is no other module {app}; {}",
                        one_of("there are", &known, "describe it under modules")
                    ),
                );
            } else if self
                .module(app)
                .is_some_and(|other| other.app_port.is_none())
            {
                problems.add(
                    path!["modules", app],
                    format!("{name} calls {method} of it, but it has no app_port; add the port on which it takes calls"),
                );
            }
        }
    }

    /// Components are objects of the namespace: two of one name would be one.
    fn check_components(&self, problems: &mut Problems) {
        let mut owners: BTreeMap<String, String> = self
            .modules
            .keys()
            .map(|name| (format!("{name}-pubsub"), name.clone()))
            .collect();
        for module in self.resolved_modules() {
            for (index, one) in module.subscribes.iter().enumerate() {
                let at = path!["modules", &module.name, "subscribes", index];
                let before = module.subscribes.get(..index).unwrap_or_default();
                if before.iter().any(|other| other.topic == one.topic) {
                    continue;
                }
                if let Some(owner) = owners.insert(one.component.clone(), module.name.clone()) {
                    problems.add(
                        at,
                        format!(
                            "its component {} belongs to {owner} already; give it another name with component",
                            one.component
                        ),
                    );
                }
            }
        }
    }
}

fn check_broker(broker: &Broker, problems: &mut Problems) {
    let at = path!["broker"];
    let least = ByteSize::from_mib(16);
    for (key, size) in [
        ("events", broker.streams.events),
        ("kept", broker.streams.kept),
    ] {
        if size < least {
            problems.add(
                at.join("streams").join(key),
                format!("{size} is too small; at least {least} is allowed"),
            );
        }
    }
    problems.check_range(
        at.join("streams").join("kept_for"),
        &broker.streams.kept_for,
        Duration::from_secs(60)..=Duration::from_secs(366 * 86_400),
    );
    let needed = broker
        .streams
        .events
        .get()
        .saturating_add(broker.streams.kept.get())
        .saturating_add(STORE_MARGIN);
    if broker.storage.get() < needed {
        problems.add(
            at.join("storage"),
            format!(
                "{} does not hold the streams ({} and {}) and {} more; at least {} is needed",
                broker.storage,
                broker.streams.events,
                broker.streams.kept,
                ByteSize::from_bytes(STORE_MARGIN),
                ByteSize::from_bytes(needed)
            ),
        );
    }
    problems.check_range(
        at.join("memory"),
        &broker.memory,
        ByteSize::from_mib(64)..=ByteSize::from_mib(16 << 10),
    );
    if broker.replicas.is_multiple_of(2) {
        problems.add(
            at.join("replicas"),
            format!(
                "{} brokers cannot form a majority when one fails; take 1, 3 or 5",
                broker.replicas
            ),
        );
    }
    for (key, image) in [
        ("image", &broker.image),
        ("setup_image", &broker.setup_image),
    ] {
        if let Some(image) = image
            && !is_image(image)
        {
            problems.add(at.join(key), format!("{image:?} is no image reference"));
        }
    }
}

fn check_ports(module: &Module, at: &Path, problems: &mut Problems) {
    let ports = [
        ("app_port", module.app_port, at.join("app_port")),
        ("metrics_port", module.metrics_port, at.join("metrics_port")),
        (
            "probes",
            module.probes.as_ref().map(|probes| probes.port),
            at.join("probes").join("port"),
        ),
    ];
    for (_, port, at) in ports {
        if let Some(port) = port
            && SIDECAR_PORTS.contains(&port)
        {
            problems.add(
                at,
                format!("{port} is a port of the Dapr sidecar in the same pod; take another"),
            );
        }
    }
    if let Some(probes) = &module.probes {
        for (key, probe) in [("live", &probes.live), ("ready", &probes.ready)] {
            if !is_path(probe) {
                problems.add(
                    at.join("probes").join(key),
                    format!("{probe:?} is no path; it begins with / and has no spaces"),
                );
            }
        }
    }
}

fn check_environment(module: &Module, at: &Path, problems: &mut Problems) {
    for (name, value) in &module.env {
        let at = at.join("env").join(name);
        if !is_variable(name) {
            problems.add_at_key(
                &at,
                format!("{name:?} is no name for an environment variable: letters, digits and _, no digit first"),
            );
        } else if TAKEN_VARIABLES.contains(&name.as_str()) || name.starts_with("DAPR_") {
            problems.add_at_key(
                &at,
                format!("{name} is set by Fieldgate or Dapr; take another name"),
            );
        }
        if is_secret(value) {
            problems.add(&at, SECRET);
        }
    }
}

fn check_subscriptions(module: &Module, at: &Path, problems: &mut Problems) {
    let mut seen: BTreeSet<Topic> = BTreeSet::new();
    for (index, one) in module.subscribes.iter().flatten().enumerate() {
        let at = at.join("subscribes").join(index);
        let topic = match one {
            Subscribes::Topic(topic) => *topic,
            Subscribes::Details(details) => details.topic,
        };
        if !seen.insert(topic) {
            problems.add(
                &at,
                format!(
                    "subscribes to {topic} twice; one subscription takes every event of a topic"
                ),
            );
        }
        let Subscribes::Details(details) = one else {
            continue;
        };
        if let Some(fault) = details.component.as_deref().and_then(fault_of_name) {
            problems.add(at.join("component"), fault);
        }
        if details.dead_letter == Some(topic) {
            problems.add(
                at.join("dead_letter"),
                format!("a refused event of {topic} would come back to {topic} for ever; take another topic"),
            );
        }
        let Some(route) = &details.route else {
            continue;
        };
        if !is_path(route) {
            problems.add(
                at.join("route"),
                format!("{route:?} is no path; it begins with / and has no spaces"),
            );
        }
        if module.app_port.is_none() {
            problems.add(
                at.join("route"),
                "the sidecar posts events to the program's app_port, which is not given; add it, or leave route out",
            );
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|letter| letter.is_ascii_graphic())
}

fn is_method(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "_-./".contains(letter))
}

/// What to do about a secret in a readable file.
pub(super) const SECRET: &str = "holds a key in clear; manifests are readable: keep it in a Kubernetes Secret (`fieldgate secrets`) and refer to it";

/// Whether a text holds a key as IoT Hub's connection strings have it, or a private key.
pub(super) fn is_secret(text: &str) -> bool {
    text.contains("SharedAccessKey=") || text.contains("PRIVATE KEY-----")
}

/// `the ports are a, b`, or what to do when there are none.
pub(super) fn one_of(words: &str, known: &[&str], none: &str) -> String {
    if known.is_empty() {
        format!("there is none; {none}")
    } else {
        format!("{words} {}", known.join(", "))
    }
}
