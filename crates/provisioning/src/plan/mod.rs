//! Which files a document makes on the device. Nothing is read or written here.

mod modules;
mod network;
mod part;
mod proxy;

use std::fmt;
use std::path::PathBuf;

use iothub_protocol::ConnectionString;
use module_runtime::path;

pub(crate) use part::part_of;

use crate::document::{Provision, Time};
use crate::load::Loaded;
use crate::places;
use crate::secrets::HUB;

/// A file that only root may read.
const PRIVATE: u32 = 0o600;
/// A file that everybody may read.
const PUBLIC: u32 = 0o644;

/// One file that is to be on the device.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// On the device.
    pub path: PathBuf,
    /// What it holds.
    pub content: String,
    /// Who may read it.
    pub mode: u32,
}

impl fmt::Debug for PlannedFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({:o})", self.path.display(), self.mode)
    }
}

impl PlannedFile {
    fn public(path: impl Into<PathBuf>, content: String) -> Self {
        Self {
            path: path.into(),
            content,
            mode: PUBLIC,
        }
    }

    fn private(path: impl Into<PathBuf>, content: String) -> Self {
        Self {
            path: path.into(),
            content,
            mode: PRIVATE,
        }
    }

    fn secret(name: &str, content: String) -> Self {
        Self::private(format!("{}/{name}", places::SECRETS), content)
    }
}

/// The files that a document makes on the device, secrets first.
pub fn plan(loaded: &Loaded) -> Vec<PlannedFile> {
    let provision = &loaded.provision;
    let mut files = Vec::new();
    if let Some(text) = connection_string(loaded) {
        files.push(PlannedFile::secret(HUB, text));
    }
    network::plan(&provision.network, &loaded.secrets, &mut files);
    if let Some(proxy) = &provision.network.proxy {
        proxy::plan(proxy, &loaded.secrets, &mut files);
    }
    files.push(PlannedFile::public(
        places::HOSTNAME,
        format!("{}\n", provision.name),
    ));
    plan_time(&provision.time, &mut files);
    if !provision.ssh.is_empty() {
        let keys: Vec<&str> = provision.ssh.iter().map(|key| key.trim()).collect();
        files.push(PlannedFile::private(
            places::AUTHORIZED_KEYS,
            format!("{}\n", keys.join("\n")),
        ));
    }
    modules::plan(loaded, &mut files);
    files.extend(preserve(provision));
    files
}

/// What iothub-module takes: a SAS key becomes the connection string that IoT Hub would show.
fn connection_string(loaded: &Loaded) -> Option<String> {
    let hub = loaded.provision.hub.as_ref()?;
    if let Some(text) = loaded.secrets.get(&path!["hub", "connection_string"]) {
        return Some(text.to_owned());
    }
    let sas = hub.sas.as_ref()?;
    let key = loaded.secrets.get(&path!["hub", "sas", "key"])?;
    let module = sas.module.as_ref();
    let module = module.map(|module| format!("ModuleId={module};"));
    let text = format!(
        "HostName={};DeviceId={};{}SharedAccessKey={key}",
        sas.host,
        sas.device,
        module.unwrap_or_default()
    );
    let parsed = ConnectionString::parse(&text).ok()?;
    Some(parsed.reveal())
}

fn plan_time(time: &Time, files: &mut Vec<PlannedFile>) {
    if !time.servers.is_empty() {
        files.push(PlannedFile::public(
            places::TIMESYNCD,
            format!("{NOTE}[Time]\nNTP={}\n", time.servers.join(" ")),
        ));
    }
    if let Some(zone) = &time.zone {
        files.push(PlannedFile::public(places::TIME_ZONE, format!("{zone}\n")));
    }
}

fn preserve(provision: &Provision) -> Option<PlannedFile> {
    let mut parts = provision.factory_reset.preserve.clone();
    parts.sort();
    parts.dedup();
    let words: String = parts
        .iter()
        .map(|part| format!("{}\n", part.as_str()))
        .collect();
    (!words.is_empty()).then(|| PlannedFile::private(places::PRESERVE, words))
}

/// The first line of files in which `#` begins a comment.
const NOTE: &str =
    "# Written by `fieldgate provision`: change the provisioning file and apply it again.\n";
