//! What the schema cannot say: names, ranges and what must fit together. Tags are in `tags.rs`.

use std::collections::{BTreeMap, BTreeSet};

use module_runtime::configuration::{ByteSize, Duration, Path};
use module_runtime::{ModuleConfiguration, Problems, path};

use super::names::Names;
use super::{Configuration, Device, Group, Link, Publish, Serial, Tcp, serial_load, tags};

impl ModuleConfiguration for Configuration {
    fn check(&self, problems: &mut Problems) {
        let mut links = Names::new("link");
        let mut lines: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (index, link) in self.links.iter().enumerate() {
            let at = path!["links", index];
            links.define(&link.name, &at.join("name"), problems);
            check_link(link, &at, problems);
            let Some(serial) = &link.serial else { continue };
            if let Some((first, name)) = lines.insert(&serial.path, (index, &link.name)) {
                let place = problems.location(path!["links", first, "serial", "path"]);
                problems.add(
                    at.join("serial").join("path"),
                    format!("{} is the line of link {name:?} already, at {place}, and only one can open it; put the devices on that link", serial.path),
                );
            }
        }
        let mut devices = Names::new("device");
        for (index, device) in self.devices.iter().enumerate() {
            let at = path!["devices", index];
            devices.define(&device.name, &at.join("name"), problems);
            links.refer(&device.link, &at.join("link"), problems);
            let link = self.links.iter().find(|link| link.name == device.link);
            check_device(device, link, &at, problems);
        }
        for (index, group) in self.groups.iter().enumerate() {
            let at = path!["groups", index];
            check_group(group, &devices, &at, problems);
        }
        check_group_names(self, problems);
        tags::check(self, problems);
        check_publish(&self.publish, problems);
        if problems.is_empty() {
            serial_load::check(self, problems);
        }
    }
}

fn check_link(link: &Link, at: &Path, problems: &mut Problems) {
    match (&link.tcp, &link.serial) {
        (Some(Tcp { host, port }), None) => {
            if host.trim().is_empty() {
                problems.add(
                    at.join("tcp").join("host"),
                    "is empty; give an address or a name",
                );
            }
            if *port == 0 {
                problems.add(
                    at.join("tcp").join("port"),
                    "0 is not a port; Modbus has 502",
                );
            }
        }
        (None, Some(serial)) => check_serial(serial, &at.join("serial"), problems),
        (None, None) => problems.add(at, "has neither tcp nor serial; give exactly one"),
        (Some(_), Some(_)) => problems.add(
            at.join("serial"),
            "a link has tcp or serial, not both; make two links",
        ),
    }
    let (low, high) = (Duration::from_millis(10), Duration::from_secs(60));
    problems.check_range(at.join("timeout"), &link.timeout, low..=high);
    let high = Duration::from_secs(30);
    problems.check_range(at.join("reconnect"), &link.reconnect, low..=high);
    if let Some(gap) = link.request_gap {
        let (low, high) = (Duration::from_millis(0), Duration::from_secs(10));
        problems.check_range(at.join("request_gap"), &gap, low..=high);
    }
}

fn check_serial(serial: &Serial, at: &Path, problems: &mut Problems) {
    if !serial.path.starts_with('/') {
        problems.add(
            at.join("path"),
            "must be an absolute path such as /dev/serial/by-id/…",
        );
    }
    problems.check_range(at.join("baud_rate"), &serial.baud_rate, 300..=4_000_000);
    if serial.data_bits != 8 {
        let message = format!("{} data bits: Modbus RTU has 8", serial.data_bits);
        problems.add(at.join("data_bits"), message);
    }
    problems.check_range(at.join("stop_bits"), &serial.stop_bits, 1..=2);
}

fn check_device(device: &Device, link: Option<&Link>, at: &Path, problems: &mut Problems) {
    // Modbus over serial line V1.02, 2.2: 0 is broadcast, 248 to 255 are reserved. On TCP a server may use any.
    let serial = link.is_some_and(|link| link.serial.is_some());
    if serial && device.unit == 0 {
        problems.add(
            at.join("unit"),
            "0 is the broadcast address, which nobody answers; a device on a serial line has 1 to 247",
        );
    } else if serial && device.unit > 247 {
        let message = format!(
            "{} is reserved; a device on a serial line has 1 to 247",
            device.unit
        );
        problems.add(at.join("unit"), message);
    }
    problems.check_range(at.join("max_registers"), &device.max_registers, 1..=125);
    problems.check_range(at.join("max_bits"), &device.max_bits, 1..=2000);
    problems.check_range(at.join("max_gap"), &device.max_gap, 0..=125);
    problems.check_range(at.join("retries"), &device.retries, 0..=5);
    problems.check_range(at.join("park_after"), &device.park_after, 1..=1000);
    let (low, high) = (Duration::from_millis(100), Duration::from_secs(86_400));
    problems.check_range(at.join("park_for"), &device.park_for, low..=high);
    if let Some(link) = link.filter(|link| device.park_for < link.timeout) {
        problems.add(
            at.join("park_for"),
            format!(
                "{} is shorter than the timeout of link {:?} ({}): the dead device would hold the link all the time; park it for at least ten timeouts",
                device.park_for, link.name, link.timeout
            ),
        );
    }
}

fn check_group(group: &Group, devices: &Names<'_>, at: &Path, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, device) in group.devices.iter().enumerate() {
        let at = at.join("devices").join(index);
        devices.refer(device, &at, problems);
        if !seen.insert(device) {
            problems.add(
                &at,
                format!("{device:?} is listed twice; remove one of the two"),
            );
        }
    }
    if group.devices.is_empty() {
        problems.add(at.join("devices"), "is empty; name at least one device");
    }
    if group.tags.is_empty() {
        problems.add(at.join("tags"), "is empty; name at least one tag");
    }
    let (low, high) = (Duration::from_millis(10), Duration::from_secs(86_400));
    problems.check_range(at.join("period"), &group.period, low..=high);
}

/// Group names are unique per device: they name the stream. Different devices may have groups of the same name.
fn check_group_names(configuration: &Configuration, problems: &mut Problems) {
    let mut streams: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (index, group) in configuration.groups.iter().enumerate() {
        let at = path!["groups", index, "name"];
        if !measurement::valid_name(&group.name) {
            let message = format!(
                "{:?} is not a name: use {}",
                group.name,
                measurement::NAME_RULE
            );
            problems.add(&at, message);
        }
        let devices: BTreeSet<&str> = group.devices.iter().map(String::as_str).collect();
        for device in devices {
            if let Some(first) = streams.insert((device, &group.name), index) {
                let line = problems.location(path!["groups", first, "name"]);
                problems.add(
                    &at,
                    format!("device {device:?} already has a group {:?}, at {line}; give one of them another name", group.name),
                );
                break;
            }
        }
    }
}

fn check_publish(publish: &Publish, problems: &mut Problems) {
    let at = path!["publish"];
    if publish.topic.is_empty() || publish.topic.contains(char::is_whitespace) {
        let message = format!(
            "{:?} is not a topic; the usual one is telemetry",
            publish.topic
        );
        problems.add(at.join("topic"), message);
    }
    let (low, high) = (ByteSize::from_kib(64), ByteSize::from_mib(1024));
    problems.check_range(at.join("buffer"), &publish.buffer, low..=high);
    problems.check_range(at.join("batch"), &publish.batch, 1..=1000);
    let (low, high) = (Duration::from_millis(0), Duration::from_secs(1));
    problems.check_range(at.join("linger"), &publish.linger, low..=high);
}
