//! The HTTP client of downloads: TLS as everywhere else in the workspace, the proxy of the environment or of the provisioning.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, NoProxy, Proxy};
use rustls::{ClientConfig, RootCertStore};

const CONNECT: Duration = Duration::from_secs(20);
/// Of a proxy in the environment, as curl reads it.
const VARIABLES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// `stall` is how long no byte may come.
pub(crate) fn client(proxy_file: &Path, stall: Duration) -> Result<Client> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls()?)
        .connect_timeout(CONNECT)
        .read_timeout(stall)
        .user_agent(concat!("fieldgate/", env!("CARGO_PKG_VERSION")));
    let in_environment = VARIABLES.iter().any(|name| {
        [name.to_string(), name.to_uppercase()]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    });
    // A person's shell does not have what the services' units read.
    if !in_environment && let Ok(text) = fs::read_to_string(proxy_file) {
        for proxy in
            of_file(&text).with_context(|| format!("the proxy in {}", proxy_file.display()))?
        {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().context("setting up the download")
}

/// Lines `http_proxy="http://…"`.
fn of_file(text: &str) -> Result<Vec<Proxy>> {
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
        .collect();
    let around = values
        .get("no_proxy")
        .and_then(|list| NoProxy::from_string(list));
    let mut proxies = Vec::new();
    if let Some(http) = values.get("http_proxy") {
        proxies.push(Proxy::http(*http)?.no_proxy(around.clone()));
    }
    if let Some(https) = values.get("https_proxy") {
        proxies.push(Proxy::https(*https)?.no_proxy(around));
    }
    Ok(proxies)
}

fn tls() -> Result<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single odd certificates in a system's store are usual and no reason to fail.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        bail!("the system has no certificates to trust; install ca-certificates");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provisionings_proxy_is_understood() {
        let text = "# note\nHTTP_PROXY=\"http://p:1\"\nhttp_proxy=\"http://user:pw@p:3128\"\nhttps_proxy=\"http://p:3128\"\nno_proxy=\"localhost,10.42.0.0/16\"\n";
        assert_eq!(of_file(text).unwrap().len(), 2);
        assert!(of_file("").unwrap().is_empty());
        assert!(of_file("http_proxy=\"http://\"\n").is_err());
    }
}
