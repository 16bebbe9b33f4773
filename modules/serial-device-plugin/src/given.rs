//! Which devices a container was given, from what the runtime tells of it.
//!
//! The answer to `ContainerStatus` with `verbose` holds a JSON document. Of containerd's (the same keys from 1.6 to 2.2)
//! these are read: `config`, the kubelet's request with the configured paths, and `runtimeSpec`, the OCI specification with
//! what the runtime found there when it made the container: a device's numbers, a mount's source with its links resolved.

use std::path::PathBuf;

use serde::Deserialize;

use crate::configuration::CONTAINER_PREFIX;
use crate::plug::DeviceNumber;

/// One port in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The port's name.
    pub port: String,
    /// The path that the kubelet asked for: as it was configured when the pod came.
    pub host_path: PathBuf,
    /// What the container has.
    pub what: What,
}

/// What a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A device node of these numbers.
    Device(DeviceNumber),
    /// A bind mount of this path.
    Mount(PathBuf),
}

impl Given {
    /// All ports in a container; most have none.
    ///
    /// # Errors
    /// When the document is not one of containerd's form.
    pub fn all(info: &str) -> Result<Vec<Self>, serde_json::Error> {
        let info: Info = serde_json::from_str(info)?;
        let devices = info.config.devices.iter().filter_map(|asked| {
            let made = info.spec.linux.devices.iter();
            let found = made.rev().find(|made| made.path == asked.container_path)?;
            let number = DeviceNumber {
                major: found.major,
                minor: found.minor,
            };
            asked.given(What::Device(number))
        });
        let mounts = info.config.mounts.iter().filter_map(|asked| {
            let made = info.spec.mounts.iter();
            let mut found = made
                .rev()
                .filter(|made| made.destination == asked.container_path);
            asked.given(What::Mount(found.next()?.source.clone()))
        });
        Ok(devices.chain(mounts).collect())
    }
}

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    config: Config,
    #[serde(rename = "runtimeSpec")]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    devices: Vec<Asked>,
    #[serde(default)]
    mounts: Vec<Asked>,
}

/// One device or mount of the kubelet's request.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    container_path: String,
    #[serde(default)]
    host_path: PathBuf,
}

impl Asked {
    fn given(&self, what: What) -> Option<Given> {
        let port = self.container_path.strip_prefix(CONTAINER_PREFIX)?;
        Some(Given {
            port: port.to_owned(),
            host_path: self.host_path.clone(),
            what,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Spec {
    #[serde(default)]
    linux: Linux,
    #[serde(default)]
    mounts: Vec<MadeMount>,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    devices: Vec<MadeDevice>,
}

#[derive(Debug, Deserialize)]
struct MadeDevice {
    path: String,
    /// OCI: int64; a serial port's is never negative.
    #[serde(default)]
    major: u32,
    #[serde(default)]
    minor: u32,
}

#[derive(Debug, Deserialize)]
struct MadeMount {
    destination: String,
    #[serde(default)]
    source: PathBuf,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_and_mounts_of_ports_are_found_among_others() {
        let info = json!({
            "sandboxID": "s", "pid": 7, "snapshotter": "overlayfs", "runtimeOptions": {"systemd_cgroup": true},
            "config": {
                "metadata": {"name": "modbus-reader"},
                "envs": [{"key": "A", "value": "b"}],
                "mounts": [
                    {"container_path": "/etc/hosts", "host_path": "/var/lib/kubelet/pods/p/etc-hosts"},
                    {"container_path": "/dev/fieldgate/serial-line-2", "host_path": "/run/lines/line-2"}
                ],
                "devices": [
                    {"container_path": "/dev/fieldgate/serial-line-1", "host_path": "/dev/serial/by-id/usb-x", "permissions": "rw"}
                ]
            },
            "runtimeSpec": {
                "ociVersion": "1.1.0",
                "mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev/fieldgate/serial-line-2", "type": "bind", "source": "/dev/pts/4", "options": ["rbind", "rw"]}
                ],
                "linux": {"devices": [{"path": "/dev/fieldgate/serial-line-1", "type": "c", "major": 188, "minor": 1, "uid": 65532}]}
            }
        });
        let given = Given::all(&info.to_string()).unwrap();
        let expected = [
            Given {
                port: "line-1".to_owned(),
                host_path: "/dev/serial/by-id/usb-x".into(),
                what: What::Device(DeviceNumber {
                    major: 188,
                    minor: 1,
                }),
            },
            Given {
                port: "line-2".to_owned(),
                host_path: "/run/lines/line-2".into(),
                what: What::Mount("/dev/pts/4".into()),
            },
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn a_container_without_ports_has_none() {
        let info = json!({"config": {"image": {}}, "runtimeSpec": {"ociVersion": "1.0.2"}});
        assert_eq!(Given::all(&info.to_string()).unwrap(), []);
    }

    #[test]
    fn another_runtimes_words_are_an_error() {
        assert!(Given::all("").is_err());
        assert!(Given::all("{}").is_err());
    }
}
