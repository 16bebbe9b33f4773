//! The document: which ports there are, and where the kubelet and the container runtime are.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use module_runtime::configuration::Path as Place;
use module_runtime::{ModuleConfiguration, Problems, path};
use schemars::JsonSchema;
use serde::Deserialize;

/// The most ports of one document.
pub const MOST_PORTS: usize = 64;
/// Bytes of a Unix socket's path, without the end mark (unix(7), `sun_path`).
const SOCKET_PATH: usize = 107;
const NAME_RULE: &str =
    "1 to 40 of the characters A-Z a-z 0-9 . _ -, the first and the last one a letter or a digit";

/// The serial ports of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The ports, each with a name and a path; at most 64.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// The folder of the kubelet's device plugin sockets.
    #[serde(default = "kubelet_directory")]
    pub kubelet_directory: PathBuf,
    /// The container runtime's CRI socket; containers that hold an outdated device are stopped through it.
    #[serde(default = "runtime_endpoint")]
    pub runtime_endpoint: PathBuf,
}

/// One serial port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Part of the resource `fieldgate.io/serial-NAME` and of the device `/dev/fieldgate/serial-NAME` in the container.
    pub name: String,
    /// Where the port is on this machine, plugged or not: best a link below /dev/serial/by-id or /dev/serial/by-path.
    pub path: PathBuf,
}

impl Port {
    /// The extended resource that a pod asks for.
    pub fn resource(name: &str) -> String {
        format!("fieldgate.io/serial-{name}")
    }

    /// Where the container finds the port.
    pub fn container_path(name: &str) -> String {
        format!("{CONTAINER_PREFIX}{name}")
    }

    /// The socket's file name in the kubelet's folder.
    pub fn socket_name(name: &str) -> String {
        format!("fieldgate-serial-{name}.sock")
    }

    /// The device ids offered: two of one port, so that the successor of a pod finds a place before the pod ends.
    pub fn device_ids(name: &str) -> [String; 2] {
        [format!("{name}-a"), format!("{name}-b")]
    }
}

/// What every path of a port in a container begins with.
pub const CONTAINER_PREFIX: &str = "/dev/fieldgate/serial-";

fn kubelet_directory() -> PathBuf {
    PathBuf::from("/var/lib/kubelet/device-plugins")
}

fn runtime_endpoint() -> PathBuf {
    PathBuf::from("/run/k3s/containerd/containerd.sock")
}

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        absolute(
            &self.kubelet_directory,
            path!["kubelet_directory"],
            problems,
        );
        absolute(&self.runtime_endpoint, path!["runtime_endpoint"], problems);
        if self.ports.len() > MOST_PORTS {
            let message = format!("has {} ports; {MOST_PORTS} are possible", self.ports.len());
            problems.add(path!["ports"], message);
        }
        let mut names: BTreeMap<&str, Place> = BTreeMap::new();
        let mut paths: BTreeMap<&Path, Place> = BTreeMap::new();
        for (index, port) in self.ports.iter().enumerate() {
            let place = path!["ports", index, "name"];
            if !valid_name(&port.name) {
                let message = format!("{:?} is not a port's name: use {NAME_RULE}", port.name);
                problems.add(&place, message);
            }
            let socket = self.kubelet_directory.join(Port::socket_name(&port.name));
            if socket.as_os_str().len() > SOCKET_PATH {
                let message = format!(
                    "{} is longer than the {SOCKET_PATH} bytes of a socket's path; shorten the name or kubelet_directory",
                    socket.display()
                );
                problems.add(&place, message);
            }
            if let Some(first) = names.insert(&port.name, place.clone()) {
                let line = problems.location(&first);
                let message = format!(
                    "the port {:?} is already defined at {line}; give one of them another name",
                    port.name
                );
                problems.add(&place, message);
            }
            let place = path!["ports", index, "path"];
            absolute(&port.path, place.clone(), problems);
            if let Some(first) = paths.insert(&port.path, place.clone()) {
                let line = problems.location(&first);
                let message = format!(
                    "{} is already the port at {line}; describe each port once",
                    port.path.display()
                );
                problems.add(&place, message);
            }
        }
    }
}

fn absolute(given: &Path, place: Place, problems: &mut Problems) {
    let plain = given
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !given.is_absolute() || !plain || given.parent().is_none() {
        let message = format!(
            "{:?} is not the path of a file: begin with \"/\", and use no \"..\"",
            given.display().to_string()
        );
        problems.add(place, message);
    }
}

/// As the last part of a resource's name (Kubernetes: qualified names), and as long as an appliance description allows.
fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let at_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 40
        && at_end(bytes.first())
        && at_end(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use module_runtime::load_str;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match load_str::<Configuration>("ports.yaml", text) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_empty_document_has_the_paths_of_k3s() {
        let loaded = load_str::<Configuration>("ports.yaml", "ports: []\n").unwrap();
        let configuration = &*loaded.configuration;
        assert_eq!(
            configuration.kubelet_directory,
            Path::new("/var/lib/kubelet/device-plugins")
        );
        assert_eq!(
            configuration.runtime_endpoint,
            Path::new("/run/k3s/containerd/containerd.sock")
        );
    }

    #[test]
    fn names_and_paths_of_ports_hold() {
        let text = "ports:\n  - {name: line-1, path: /dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0}\n  - {name: L2.x_y, path: /dev/ttyS1}\n";
        assert_eq!(problems(text), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "\
ports:
  - {name: line-1, path: /dev/ttyS0}
  - {name: line-, path: ttyS1}
  - {name: line-1, path: /dev/ttyS0}
  - {name: x, path: /dev/../etc}
  - {name: y, pth: /dev/ttyS3}
";
        let found = problems(text);
        let expected = [
            "ports.yaml:3:12: ports[1].name: \"line-\" is not a port's name",
            "ports.yaml:3:25: ports[1].path: \"ttyS1\" is not the path of a file",
            "ports.yaml:4:12: ports[2].name: the port \"line-1\" is already defined at 2:12",
            "ports.yaml:4:26: ports[2].path: /dev/ttyS0 is already the port at 2:26",
            "ports.yaml:5:21: ports[3].path: \"/dev/../etc\" is not the path of a file",
        ];
        for start in expected {
            assert!(
                found.iter().any(|line| line.starts_with(start)),
                "{start} is not in {found:#?}"
            );
        }
        assert!(found.iter().any(|line| line.contains("pth")), "{found:#?}");
    }

    #[test]
    fn a_socket_path_must_fit() {
        let text = format!(
            "kubelet_directory: /{}\nports: [{{name: line-1, path: /dev/ttyS0}}]\n",
            "d".repeat(100)
        );
        let found = problems(&text);
        assert!(found[0].contains("107 bytes"), "{found:?}");
    }
}
