//! The secrets of a document: where they are, what they are, and which of them the device has already.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path as FilePath;

use iothub_protocol::ConnectionString;
use k3s_manifest_gen::yaml::{Located, value_at};
use module_runtime::configuration::Path;
use module_runtime::{Problem, path};
use serde_json::Value;

use crate::check::{
    check_certificate, check_connection_string, check_key, check_passphrase, check_private_key,
    fault_of_file,
};
use crate::document::{has_credentials, is_taken};
use crate::stored::Stored;

/// The largest file with a secret, in bytes: a chain of certificates.
const LARGEST: u64 = 64 << 10;
/// The file of the hub's connection string among the secrets.
pub(crate) const HUB: &str = "hub-connection-string";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ConnectionString,
    Key,
    Certificate,
    PrivateKey,
    Passphrase,
    Proxy,
}

/// A place in the document where a secret belongs.
#[derive(Debug, Clone)]
struct Place {
    path: Path,
    kind: Kind,
    /// The device's file that has it afterwards.
    stored: Option<String>,
}

/// The secrets of a document.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// By path, those given and those the device has.
    values: BTreeMap<String, String>,
    /// Where one stands in the document.
    pub(crate) written: Vec<Path>,
    /// Where the document says that the device has it.
    pub(crate) taken: Vec<Path>,
    /// The files beside the document that hold one.
    pub(crate) files: Vec<String>,
    /// Those, and the ones that are gone because the device has taken them over.
    pub(crate) named: Vec<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secrets")
            .field("written", &self.written)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    pub(crate) fn get(&self, path: &Path) -> Option<&str> {
        self.values.get(&path.to_string()).map(String::as_str)
    }

    /// Every value, for looking where else one is.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.values.values().map(String::as_str)
    }

    /// Finds the secrets of a document and reads those in files. What the document says is taken as it is written, so that one with
    /// mistakes elsewhere has its secrets looked at as well. Without `stored`, what the device has is not known, and `<taken>` is taken
    /// for true.
    pub(crate) fn find(
        document: &Located,
        directory: &FilePath,
        stored: Option<&Stored>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut found = Self::default();
        for place in places(document.value()) {
            let at = &place.path;
            match value_at(document.value(), at) {
                Some(Value::String(text)) if is_taken(text) => {
                    found.taken.push(at.clone());
                    let missing =
                        "was taken over already, but this device has none; write the value anew";
                    found.keep(document, &place, at, missing, stored, problems);
                }
                Some(Value::String(text)) => {
                    if place.kind == Kind::Proxy && !has_credentials(text) {
                        continue;
                    }
                    found.written.push(at.clone());
                    let text = match place.kind {
                        // Blanks at its ends are part of it.
                        Kind::Passphrase => text,
                        _ => text.trim(),
                    };
                    found.values.insert(at.to_string(), text.to_owned());
                }
                Some(Value::Object(mapping)) => {
                    let name = mapping.get("file").and_then(Value::as_str);
                    if let Some(name) = name.filter(|name| fault_of_file(name).is_none()) {
                        found.named.push(name.to_owned());
                        found.read(document, &place, name, directory, stored, problems);
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn read(
        &mut self,
        document: &Located,
        place: &Place,
        name: &str,
        directory: &FilePath,
        stored: Option<&Stored>,
        problems: &mut Vec<Problem>,
    ) {
        let at = place.path.join("file");
        let file = directory.join(name);
        let is_large = std::fs::metadata(&file).is_ok_and(|found| found.len() > LARGEST);
        if is_large {
            problems.push(document.problem(
                &at,
                format!("{name} is larger than 64KiB; it holds the secret and nothing else"),
            ));
            return;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}').trim();
                let fault = match place.kind {
                    Kind::ConnectionString => check_connection_string(text),
                    Kind::Key => check_key(text),
                    Kind::Certificate => check_certificate(text),
                    Kind::PrivateKey => check_private_key(text),
                    Kind::Passphrase => check_passphrase(text),
                    Kind::Proxy => Ok(()),
                };
                if let Err(fault) = fault {
                    problems.push(document.problem(&at, format!("{name}: {fault}")));
                }
                self.files.push(name.to_owned());
                self.values.insert(place.path.to_string(), text.to_owned());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let missing = format!(
                    "{name} is not beside this document, and was not taken over before; put it there, or write the value here"
                );
                if stored.is_none() {
                    problems.push(document.problem(&at, missing));
                } else {
                    self.keep(document, place, &at, &missing, stored, problems);
                }
            }
            Err(error) => problems.push(document.problem(
                &at,
                format!("{name} cannot be read ({error}); it must be a file of text beside this document"),
            )),
        }
    }

    /// Takes what the device has.
    fn keep(
        &mut self,
        document: &Located,
        place: &Place,
        at: &Path,
        missing: &str,
        stored: Option<&Stored>,
        problems: &mut Vec<Problem>,
    ) {
        let Some(stored) = stored else { return };
        let kept = place.stored.as_ref().and_then(|name| stored.get(name));
        let Some(kept) = kept else {
            // What is refused anyway is stored nowhere.
            if place.stored.is_some() {
                problems.push(document.problem(at, missing));
            }
            return;
        };
        let kept = match place.kind {
            Kind::Key => match key_of(document.value(), kept) {
                Ok(key) => key,
                Err(fault) => return problems.push(document.problem(at, fault)),
            },
            _ => kept.to_owned(),
        };
        self.values.insert(place.path.to_string(), kept);
    }
}

/// The key of the connection string that the device has, if it is the identity's of `hub.sas`.
fn key_of(document: &Value, stored: &str) -> Result<String, String> {
    let kept = ConnectionString::parse(stored)
        .map_err(|_| "was taken over, but what the device has is damaged; write the key anew")?;
    let sas = document.pointer("/hub/sas");
    let text = |key: &str| sas.and_then(|sas| sas.get(key)).and_then(Value::as_str);
    let is_same = text("host").is_some_and(|host| host.eq_ignore_ascii_case(&kept.host_name))
        && text("device") == Some(kept.identity.device())
        && text("module") == kept.identity.module();
    if !is_same {
        return Err(format!(
            "was taken over for {} at {}, which is another identity; write the key of this one",
            kept.identity, kept.host_name
        ));
    }
    Ok(kept.key.to_base64())
}

/// Where secrets belong in this document.
fn places(document: &Value) -> Vec<Place> {
    let hub = |stored: Option<&str>, kind: Kind, path: Path| Place {
        path,
        kind,
        stored: stored.map(str::to_owned),
    };
    let attestation = path!["hub", "dps", "attestation"];
    let mut all = vec![
        hub(
            Some(HUB),
            Kind::ConnectionString,
            path!["hub", "connection_string"],
        ),
        hub(Some(HUB), Kind::Key, path!["hub", "sas", "key"]),
        hub(None, Kind::Certificate, path!["hub", "x509", "certificate"]),
        hub(None, Kind::PrivateKey, path!["hub", "x509", "key"]),
        hub(None, Kind::Key, attestation.join("symmetric_key")),
        hub(
            None,
            Kind::Certificate,
            attestation.join("x509").join("certificate"),
        ),
        hub(None, Kind::PrivateKey, attestation.join("x509").join("key")),
    ];
    let interfaces = document
        .pointer("/network/interfaces")
        .and_then(Value::as_array);
    for (index, interface) in interfaces.into_iter().flatten().enumerate() {
        let name = interface.get("name").and_then(Value::as_str);
        all.push(Place {
            path: path!["network", "interfaces", index, "wifi", "passphrase"],
            kind: Kind::Passphrase,
            stored: name.map(of_wifi),
        });
    }
    for key in ["http", "https"] {
        all.push(Place {
            path: path!["network", "proxy", key],
            kind: Kind::Proxy,
            stored: Some(of_proxy(key)),
        });
    }
    all
}

/// The file of a wireless network's passphrase among the secrets.
pub(crate) fn of_wifi(interface: &str) -> String {
    format!("wifi-{interface}")
}

/// The file of a proxy's address with its password among the secrets.
pub(crate) fn of_proxy(key: &str) -> String {
    format!("proxy-{key}")
}
