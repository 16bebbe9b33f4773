//! The emulator's own certificate authority and the server certificate it issues, kept across restarts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::storage::atomic_file::{read_if_present, write_atomically, write_secret_atomically};

/// A certificate or key in the data folder that cannot be read, made or used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name cannot stand in a certificate, or a stored key is damaged.
    #[error(
        "certificate: {0}; check the host names, or remove the *.pem files from the data folder to have new ones made"
    )]
    Make(#[from] rcgen::Error),
    /// The stored files do not fit together.
    #[error(
        "{path} is not usable: {message}; remove the *.pem files from the data folder to have new ones made"
    )]
    Unusable {
        /// The file in question.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// What TLS needs, and where clients find the authority.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) ca_file: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
}

/// Reads the certificates under `data`, or makes them. The authority is never replaced; the server certificate is when
/// the set of names has changed.
pub(crate) fn open(
    data: &Path,
    names: &BTreeSet<String>,
) -> Result<Certificates, CertificateError> {
    let ca_file = data.join("ca.pem");
    let ca_key_file = data.join("ca-key.pem");
    let server_file = data.join("server.pem");
    let server_key_file = data.join("server-key.pem");
    let names_file = data.join("server-names.txt");
    let wanted: String = names.iter().map(|name| format!("{name}\n")).collect();

    let ca_key = match (read(&ca_file)?, read(&ca_key_file)?) {
        (Some(_), Some(key)) => KeyPair::from_pem(&key)?,
        _ => {
            let key = KeyPair::generate()?;
            write_secret(&ca_key_file, &key.serialize_pem())?;
            write(&ca_file, &authority_parameters().self_signed(&key)?.pem())?;
            // A server certificate of an earlier authority would not verify.
            write(&names_file, "")?;
            key
        }
    };

    let stored = (
        read(&server_file)?,
        read(&server_key_file)?,
        read(&names_file)?,
    );
    let (certificate, key) = match stored {
        (Some(certificate), Some(key), Some(stored_names)) if stored_names == wanted => {
            (certificate, key)
        }
        _ => {
            let key = KeyPair::generate()?;
            let issuer = Issuer::new(authority_parameters(), ca_key);
            let certificate = server_parameters(names)?.signed_by(&key, &issuer)?.pem();
            let key = key.serialize_pem();
            write_secret(&server_key_file, &key)?;
            write(&server_file, &certificate)?;
            // Last: it vouches for the two files before it.
            write(&names_file, &wanted)?;
            (certificate, key)
        }
    };

    let unusable = |message: String| CertificateError::Unusable {
        path: server_file.clone(),
        message,
    };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| unusable(error.to_string()))?;
    let server =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            // Both: the Python SDK insists on TLS 1.2, the Node SDK takes 1.3.
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| unusable(error.to_string()))?;
    Ok(Certificates {
        ca_file,
        server: Arc::new(server),
    })
}

/// The same parameters each time, because together with the stored key they *are* the issuer: its name and key
/// identifier come out equal to those in the stored certificate.
fn authority_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "Fieldgate IoT Hub emulator CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut parameters);
    parameters
}

fn server_parameters(names: &BTreeSet<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "Fieldgate IoT Hub emulator");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // OpenSSL's strict mode wants it.
    parameters.use_authority_key_identifier_extension = true;
    set_validity(&mut parameters);
    Ok(parameters)
}

/// Fixed dates, so that devices whose clock is off can still be tested.
fn set_validity(parameters: &mut CertificateParams) {
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 12, 31);
}

fn read(path: &Path) -> Result<Option<String>, CertificateError> {
    read_if_present(path).map_err(|source| CertificateError::File {
        path: path.to_path_buf(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), CertificateError> {
    write_atomically(path, text.as_bytes()).map_err(|source| CertificateError::File {
        path: path.to_path_buf(),
        source,
    })
}

fn write_secret(path: &Path, text: &str) -> Result<(), CertificateError> {
    write_secret_atomically(path, text.as_bytes()).map_err(|source| CertificateError::File {
        path: path.to_path_buf(),
        source,
    })
}
