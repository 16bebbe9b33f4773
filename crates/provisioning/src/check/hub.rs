//! The hub: exactly one way, and one that this version can go.

use iothub_protocol::{ConnectionString, HubIdentity, SharedAccessKey};
use module_runtime::configuration::Path;
use module_runtime::{Problems, path};

use super::words::{fault_of_file, is_host};
use crate::document::{Attestation, Hub, Sas, Secret};

/// What iothub-module cannot do yet.
const NOT_YET: &str = "this version delivers with a connection string or SAS key only; create the device with a symmetric key, and write hub.connection_string";
const WAYS: &str = "connection_string, sas, x509 and dps";

pub(super) fn check(hub: &Hub, problems: &mut Problems) {
    match hub.ways().as_slice() {
        [_] => {}
        [] => problems.add(path!["hub"], format!("has no identity; give one of {WAYS}")),
        several => problems.add(
            path!["hub"],
            format!(
                "has {} together; leave only one of {WAYS}",
                several.join(" and ")
            ),
        ),
    }
    if let Some(text) = &hub.connection_string {
        check_secret(
            text,
            path!["hub", "connection_string"],
            check_connection_string,
            problems,
        );
    }
    if let Some(sas) = &hub.sas {
        check_sas(sas, problems);
    }
    if let Some(x509) = &hub.x509 {
        let at = path!["hub", "x509"];
        check_identity(&at, &x509.host, &x509.device, None, problems);
        check_secret(
            &x509.certificate,
            at.join("certificate"),
            check_certificate,
            problems,
        );
        check_secret(&x509.key, at.join("key"), check_private_key, problems);
        problems.add_at_key(at, NOT_YET);
    }
    if let Some(dps) = &hub.dps {
        let at = path!["hub", "dps"];
        for (key, text) in [
            ("id_scope", &dps.id_scope),
            ("registration_id", &dps.registration_id),
        ] {
            if !is_id(text) {
                problems.add(
                    at.join(key),
                    format!("{text:?} is not what Azure shows as {key}: 1 to 128 letters, digits and - . _ :"),
                );
            }
        }
        let attestation = at.join("attestation");
        match &dps.attestation {
            Attestation::SymmetricKey(key) => {
                check_secret(key, attestation.join("symmetric_key"), check_key, problems);
            }
            Attestation::X509 { certificate, key } => {
                let at = attestation.join("x509");
                check_secret(
                    certificate,
                    at.join("certificate"),
                    check_certificate,
                    problems,
                );
                check_secret(key, at.join("key"), check_private_key, problems);
            }
            Attestation::Tpm {} => {}
        }
        problems.add_at_key(at, NOT_YET);
    }
}

fn check_sas(sas: &Sas, problems: &mut Problems) {
    let at = path!["hub", "sas"];
    check_identity(&at, &sas.host, &sas.device, sas.module.as_deref(), problems);
    check_secret(&sas.key, at.join("key"), check_key, problems);
}

fn check_identity(
    at: &Path,
    host: &str,
    device: &str,
    module: Option<&str>,
    problems: &mut Problems,
) {
    if !is_host(host) {
        problems.add(
            at.join("host"),
            format!("{host:?} is no host name; write the hub's, such as plant.azure-devices.net"),
        );
    }
    if let Err(error) = HubIdentity::new(device, None) {
        problems.add(at.join("device"), error.to_string());
    }
    if let Some(module) = module
        && HubIdentity::new("device", Some(module)).is_err()
    {
        problems.add(
            at.join("module"),
            "is no module id; name it as it is registered at IoT Hub",
        );
    }
}

/// What stands in the document; what stands in files is looked at when they are read.
fn check_secret(
    secret: &Secret,
    at: Path,
    check: fn(&str) -> Result<(), String>,
    problems: &mut Problems,
) {
    let fault = match secret {
        Secret::File(file) => fault_of_file(&file.file),
        text => text.text().and_then(|text| check(text).err()),
    };
    if let Some(fault) = fault {
        let at = match secret {
            Secret::File(_) => at.join("file"),
            Secret::Text(_) => at,
        };
        problems.add(at, fault);
    }
}

/// No message repeats the text: it is a secret.
pub(crate) fn check_connection_string(text: &str) -> Result<(), String> {
    ConnectionString::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

pub(crate) fn check_key(text: &str) -> Result<(), String> {
    // Shorter ones have no use, and must leave room for the word that takes their place on the medium.
    let is_short = text.trim().len() < 24;
    if is_short || SharedAccessKey::from_base64(text.trim()).is_err() {
        return Err(
            "is no key; copy the device's primary key, Base64 of 16 to 64 bytes".to_owned(),
        );
    }
    Ok(())
}

pub(crate) fn check_certificate(text: &str) -> Result<(), String> {
    if text.contains("PRIVATE KEY-----") {
        return Err("holds a private key; keep only the certificates in it".to_owned());
    }
    if !is_pem(text, "CERTIFICATE") {
        return Err(
            "holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)".to_owned(),
        );
    }
    Ok(())
}

pub(crate) fn check_private_key(text: &str) -> Result<(), String> {
    if is_pem(text, "PRIVATE KEY") {
        return Ok(());
    }
    Err(
        "holds no private key; it must be PEM (-----BEGIN PRIVATE KEY-----), not encrypted"
            .to_owned(),
    )
}

fn is_pem(text: &str, kind: &str) -> bool {
    let has = |word: &str| {
        text.lines().any(|line| {
            line.starts_with(word) && line.trim_end().ends_with(&format!("{kind}-----"))
        })
    };
    has("-----BEGIN ") && has("-----END ") && !text.contains("ENCRYPTED")
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-._:".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_repeats_a_secret() {
        for text in [
            "hunter2",
            "HostName=h.example;DeviceId=d;SharedAccessKey=%%hunter2%%",
            "HostName=hunter2 hunter2;DeviceId=d;SharedAccessKey=aHVudGVyMg==",
        ] {
            for check in [
                check_connection_string,
                check_key,
                check_certificate,
                check_private_key,
            ] {
                let told = check(text).unwrap_err();
                assert!(!told.contains("hunter2") && !told.contains("aHV"), "{told}");
            }
        }
    }

    #[test]
    fn a_key_has_its_length() {
        assert_eq!(check_key("MDEyMzQ1Njc4OWFiY2RlZg=="), Ok(()));
        for bad in ["", "MDEy", "MDEyMzQ1Njc4OWFiY2RlZg=", "<taken>"] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
