//! From the plant to configuration documents: the simulator's plan and both modules' configurations.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::broker::TOPIC_TELEMETRY;
use super::plant::{Connection, DEMO_COIL, Plant, PlantDevice, STEP, Tag};
use super::subscriptions::{Delivery, SUBSCRIPTIONS};
use crate::duration::render;

/// One reconnect, retry and time-out policy for all links: answer time of one request.
pub(crate) const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Serialize)]
struct SimulatorPlan<'a> {
    step: String,
    devices: Vec<SimulatedDevice<'a>>,
}

#[derive(Serialize)]
struct SimulatedDevice<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<Listen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<Link<'a>>,
    unit: u8,
    points: Vec<&'a Tag>,
}

#[derive(Serialize)]
struct Listen {
    listen: String,
}

#[derive(Serialize)]
struct Link<'a> {
    link: &'a Path,
}

#[derive(Serialize)]
struct ReaderDocument<'a> {
    name: &'a str,
    version: &'a str,
    links: Vec<ReaderLink<'a>>,
    devices: Vec<ReaderDevice<'a>>,
    groups: Vec<ReaderGroup<'a>>,
    publish: Publish<'a>,
}

#[derive(Serialize)]
struct ReaderLink<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpLink>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<SerialLink<'a>>,
    timeout: String,
}

#[derive(Serialize)]
struct TcpLink {
    host: String,
    port: u16,
}

#[derive(Serialize)]
struct SerialLink<'a> {
    path: &'a Path,
    baud_rate: u32,
    parity: &'a str,
}

#[derive(Serialize)]
struct ReaderDevice<'a> {
    name: &'a str,
    link: String,
    unit: u8,
}

#[derive(Serialize)]
struct ReaderGroup<'a> {
    name: &'a str,
    devices: &'a [String],
    period: String,
    tags: &'a [Tag],
}

#[derive(Serialize)]
struct Publish<'a> {
    topic: &'a str,
    buffer: &'a str,
    batch: u32,
    linger: &'a str,
}

/// What the documents need to know besides the plant.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Port of each TCP device, in the plant's order.
    pub(crate) device_ports: Vec<u16>,
    /// The serial line's device file, made by the simulator.
    pub(crate) line: PathBuf,
    pub(crate) hub_port: u16,
    /// The private CA of the emulated hub.
    pub(crate) hub_ca: PathBuf,
    pub(crate) queue: PathBuf,
}

impl Places {
    /// Devices with their port, where they have one.
    fn devices<'a>(
        &'a self,
        plant: &'a Plant,
    ) -> impl Iterator<Item = (&'a PlantDevice, Option<u16>)> {
        let mut ports = self.device_ports.iter().copied();
        plant.devices.iter().map(move |device| {
            let port = match device.connection {
                Connection::Tcp => ports.next(),
                Connection::Serial => None,
            };
            (device, port)
        })
    }
}

/// The simulator's plan, YAML.
pub(crate) fn simulator_plan(plant: &Plant, places: &Places) -> Result<String> {
    let devices = places
        .devices(plant)
        .map(|(device, port)| SimulatedDevice {
            name: &device.name,
            tcp: port.map(|port| Listen {
                listen: format!("{}:{port}", Ipv4Addr::LOCALHOST),
            }),
            serial: port.is_none().then_some(Link { link: &places.line }),
            unit: device.unit,
            points: plant
                .groups
                .iter()
                .filter(|group| group.devices.contains(&device.name))
                .flat_map(|group| &group.tags)
                .collect(),
        })
        .collect();
    Ok(serde_yaml_ng::to_string(&SimulatorPlan {
        step: render(STEP),
        devices,
    })?)
}

/// The configuration of modbus-reader, YAML.
pub(crate) fn reader_configuration(plant: &Plant, places: &Places) -> Result<String> {
    let timeout = render(REQUEST_TIMEOUT);
    let mut links: Vec<ReaderLink<'_>> = places
        .devices(plant)
        .filter_map(|(device, port)| {
            port.map(|port| ReaderLink {
                name: link_name(device),
                tcp: Some(TcpLink {
                    host: Ipv4Addr::LOCALHOST.to_string(),
                    port,
                }),
                serial: None,
                timeout: timeout.clone(),
            })
        })
        .collect();
    if let Some((device, _)) = places.devices(plant).find(|(_, port)| port.is_none()) {
        links.push(ReaderLink {
            name: link_name(device),
            tcp: None,
            serial: Some(SerialLink {
                path: &places.line,
                baud_rate: 115_200,
                parity: "none",
            }),
            timeout,
        });
    }
    let document = ReaderDocument {
        name: "demo-plant",
        version: "1",
        links,
        devices: plant
            .devices
            .iter()
            .map(|device| ReaderDevice {
                name: &device.name,
                link: link_name(device),
                unit: device.unit,
            })
            .collect(),
        groups: plant
            .groups
            .iter()
            .map(|group| ReaderGroup {
                name: &group.name,
                devices: &group.devices,
                period: render(group.period),
                tags: &group.tags,
            })
            .collect(),
        publish: Publish {
            topic: TOPIC_TELEMETRY,
            buffer: "16MiB",
            batch: 100,
            linger: "10ms",
        },
    };
    Ok(serde_yaml_ng::to_string(&document)?)
}

fn link_name(device: &PlantDevice) -> String {
    match device.connection {
        Connection::Tcp => format!("cell-{}", device.name),
        Connection::Serial => "line-1".to_owned(),
    }
}

/// The configuration of iothub-module, YAML.
pub(crate) fn hub_configuration(places: &Places, delivery: Delivery) -> Result<String> {
    let subscriptions: Vec<_> = SUBSCRIPTIONS
        .iter()
        .flat_map(|subscription| {
            subscription.components(delivery).map(
                |component| serde_json::json!({"pubsub": component, "topic": subscription.topic}),
            )
        })
        .collect();
    let mut document = serde_json::json!({
        "name": "demo-hub",
        "version": "1",
        "hub": {
            "connection_string": {"store": "secrets", "name": "iothub", "key": "connection-string"},
            "host": Ipv4Addr::LOCALHOST.to_string(),
            "port": places.hub_port,
            "ca_file": places.hub_ca,
        },
        "queue": {"path": places.queue, "max_bytes": "256MiB", "when_full": "drop-oldest"},
        "subscriptions": subscriptions,
        "commands": {"allow": [
            {"method": "modbus-reader.write", "deadline": "10s"},
            {"method": "modbus-reader.read", "deadline": "10s"},
        ]},
        "config_topic": "config",
        "commands_topic": "commands",
        "dead_letter_topic": "deadletter",
    });
    if delivery == Delivery::Lanes {
        // An event that waits blocks its lane, perhaps for the one it waits for.
        document["intake"] = serde_json::json!({"reorder_wait": "1s"});
    }
    Ok(serde_yaml_ng::to_string(&document)?)
}

/// A command line that writes the demo's coil through the hub.
pub(crate) fn write_example(control: &str, hub_device: &str, plant: &Plant) -> Option<String> {
    let device = plant
        .groups
        .iter()
        .find(|group| group.tags.iter().any(|tag| tag.name == DEMO_COIL))?
        .devices
        .first()?;
    Some(format!(
        "curl -s {control}/devices/{hub_device}/methods -H 'content-type: application/json' -d \
         '{{\"methodName\":\"modbus-reader.write\",\"payload\":{{\"device\":\"{device}\",\"tag\":\"{DEMO_COIL}\",\
         \"value\":true}},\"responseTimeoutInSeconds\":10}}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            device_ports: vec![15021, 15022, 15023],
            line: "/run/x/line-1".into(),
            hub_port: 8883,
            hub_ca: "/run/x/ca.pem".into(),
            queue: "/run/x/queue.db".into(),
        }
    }

    #[test]
    fn the_simulator_takes_its_plan() {
        let text = simulator_plan(&Plant::demo(), &places()).unwrap();
        let plan: field_simulator::Plan = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(plan.step, STEP);
        assert_eq!(plan.devices.len(), 4);
        assert_eq!(plan.devices[3].serial.as_ref().unwrap().link, places().line);
        let points: usize = plan.devices.iter().map(|device| device.points.len()).sum();
        assert_eq!(points, 200);
    }

    #[test]
    fn the_reader_polls_every_tag_of_every_device() {
        let text = reader_configuration(&Plant::demo(), &places()).unwrap();
        let document: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(document["links"].as_array().unwrap().len(), 4);
        assert_eq!(document["links"][1]["tcp"]["port"], 15022);
        assert_eq!(document["links"][3]["serial"]["path"], "/run/x/line-1");
        assert_eq!(document["groups"][0]["period"], "100ms");
        assert_eq!(document["devices"][3]["link"], document["links"][3]["name"]);
        let tags: usize = document["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                group["devices"].as_array().unwrap().len() * group["tags"].as_array().unwrap().len()
            })
            .sum();
        assert_eq!(tags, 200);
    }

    #[test]
    fn the_hub_module_subscribes_to_what_the_broker_prepares() {
        let text = hub_configuration(&places(), Delivery::Pull).unwrap();
        let document: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(
            document["subscriptions"],
            serde_json::json!([
                {"pubsub": "pubsub-telemetry", "topic": "telemetry"},
                {"pubsub": "pubsub-status", "topic": "status"},
            ])
        );
        assert_eq!(document["hub"]["port"], 8883);
    }

    #[test]
    fn the_example_command_names_a_device_with_the_coil() {
        let line = write_example("http://127.0.0.1:9000", "demo", &Plant::demo()).unwrap();
        assert!(
            line.contains("\"device\":\"press-1\",\"tag\":\"pump\""),
            "{line}"
        );
    }
}
