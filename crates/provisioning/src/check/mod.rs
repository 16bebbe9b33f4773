//! What the document's schema cannot say.

mod hub;
mod network;
mod ssh_key;
mod words;
mod zone;

use std::path::Path;

use module_runtime::{ModuleConfiguration, Problems, path};

use crate::document::{Part, Provision, Time};

pub(crate) use hub::{check_certificate, check_connection_string, check_key, check_private_key};
pub(crate) use network::check_passphrase;
pub(crate) use words::fault_of_file;

use words::{is_host, is_label};
use zone::{ZONEINFO, fault_of_zone};

/// Modules whose documents would take the place of other files in /etc/fieldgate.
const TAKEN_FILES: [&str; 2] = ["appliance", "serial-device-plugin"];
/// The longest name: what an event's source and the appliance description take.
const LONGEST_NAME: usize = 32;

impl ModuleConfiguration for Provision {
    fn check(&self, problems: &mut Problems) {
        if !is_name(&self.name) {
            problems.add(
                path!["name"],
                format!(
                    "{:?} is no name for a device: 1 to {LONGEST_NAME} of a–z, 0–9 and -, no - at either end",
                    self.name
                ),
            );
        }
        network::check(&self.network, problems);
        check_time(&self.time, problems);
        if let Some(hub) = &self.hub {
            hub::check(hub, problems);
        }
        for (index, key) in self.ssh.iter().enumerate() {
            if let Err(fault) = ssh_key::check(key) {
                problems.add(path!["ssh", index], fault);
            }
            let before = self.ssh.get(..index).unwrap_or_default();
            let same = before.iter().position(|other| ssh_key::is_same(other, key));
            if let Some(other) = same {
                problems.add(
                    path!["ssh", index],
                    format!(
                        "is the key at {} again; remove one of the two",
                        problems.location(path!["ssh", other])
                    ),
                );
            }
        }
        self.check_modules(problems);
        self.check_preserve(problems);
    }
}

impl Provision {
    fn check_modules(&self, problems: &mut Problems) {
        for module in self.modules.iter().flat_map(|modules| modules.keys()) {
            if TAKEN_FILES.contains(&module.as_str()) {
                problems.add_at_key(
                    path!["modules", module],
                    format!("{module}.yaml is a file of Fieldgate's own beside the documents; give the module another name"),
                );
            }
        }
        for (module, file) in self.module_files() {
            if let Some(fault) = fault_of_file(file) {
                problems.add(path!["modules", module, "configuration"], fault);
            }
        }
        let ca = self.hub.as_ref().and_then(|hub| hub.ca.as_ref());
        if let Some(fault) = ca.and_then(|file| fault_of_file(file)) {
            problems.add(path!["hub", "ca"], fault);
        }
        if let Some(mut appliance) = self.appliance() {
            // What is wrong with the name is told at its own key.
            if !is_name(&self.name) {
                "gate".clone_into(&mut appliance.appliance);
            }
            appliance.check(problems);
            return;
        }
        let needless = [
            (path!["broker"], self.broker.is_some()),
            (path!["serial"], !self.serial.is_empty()),
            (path!["hub", "ca"], ca.is_some()),
        ];
        for (at, is_given) in needless {
            if is_given {
                problems.add(
                    at,
                    "is a part of the appliance description, which begins with modules; describe the modules, or remove this",
                );
            }
        }
    }

    fn check_preserve(&self, problems: &mut Problems) {
        for (index, part) in self.factory_reset.preserve.iter().enumerate() {
            let is_there = match part {
                Part::Hub => self.hub.is_some(),
                Part::Modules => self.modules.is_some(),
                Part::Ssh => !self.ssh.is_empty(),
                Part::Network | Part::Name => true,
            };
            if !is_there {
                problems.add(
                    path!["factory_reset", "preserve", index],
                    format!(
                        "this document has no {}, so there is nothing to preserve; add it, or remove the entry",
                        part.as_str()
                    ),
                );
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && is_label(text)
}

fn check_time(time: &Time, problems: &mut Problems) {
    for (index, server) in time.servers.iter().enumerate() {
        if !is_host(server) && server.parse::<std::net::IpAddr>().is_err() {
            problems.add(
                path!["time", "servers", index],
                format!("{server:?} is no NTP server; write its name or address, such as ntp.plant.example"),
            );
        }
    }
    let zone = time.zone.as_ref();
    if let Some(fault) = zone.and_then(|zone| fault_of_zone(zone, Path::new(ZONEINFO))) {
        problems.add(path!["time", "zone"], fault);
    }
}
