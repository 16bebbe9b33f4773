//! The certificate authorities Mozilla trusts, as the file that TLS libraries look for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The crate the certificates come from; its version is in Cargo.lock.
pub(crate) const CRATE: &str = "webpki-root-certs";

/// All certificates in PEM (RFC 7468: lines of 64 characters), in the order of the crate.
pub(crate) fn pem() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_is_there_and_readable() {
        let text = pem();
        let count = webpki_root_certs::TLS_SERVER_ROOT_CERTS.len();
        assert!(count > 100, "{count}");
        assert!(text.lines().all(|line| line.len() <= 64));
        let bodies: Vec<Vec<u8>> = text
            .split("-----BEGIN CERTIFICATE-----\n")
            .skip(1)
            .map(|block| block.split("-----END").next().unwrap().replace('\n', ""))
            .map(|body| STANDARD.decode(body).unwrap())
            .collect();
        assert!(
            bodies
                .iter()
                .map(Vec::as_slice)
                .eq(webpki_root_certs::TLS_SERVER_ROOT_CERTS
                    .iter()
                    .map(AsRef::as_ref))
        );
    }
}
