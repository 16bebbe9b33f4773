//! The TLS configuration: ring, TLS 1.2 and 1.3, the system's roots or given ones.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::options::{StartError, Trust};

pub(crate) fn configuration(trust: &Trust) -> Result<Arc<ClientConfig>, StartError> {
    let roots = match trust {
        Trust::System => system_roots()?,
        Trust::Pem(pem) => given_roots(pem)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| StartError::Certificate(error.to_string()))?;
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| StartError::Certificate(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| StartError::Certificate(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(StartError::NoCertificate);
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, StartError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single odd certificates in a system's store are usual and no reason to fail.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found
            .errors
            .first()
            .map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(StartError::NoSystemRoots(why));
    }
    Ok(roots)
}
