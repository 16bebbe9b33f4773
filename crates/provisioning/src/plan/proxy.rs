//! The proxy as an environment file (systemd.exec(5), EnvironmentFile=).

use module_runtime::path;

use super::{NOTE, PlannedFile};
use crate::document::Proxy;
use crate::places;
use crate::secrets::{Secrets, of_proxy};

/// What is never reached through a proxy: the device itself, and the pods and services of k3s (its default networks).
const OWN: [&str; 7] = [
    "localhost",
    "127.0.0.0/8",
    "::1",
    "10.42.0.0/16",
    "10.43.0.0/16",
    ".svc",
    ".cluster.local",
];

pub(super) fn plan(proxy: &Proxy, secrets: &Secrets, files: &mut Vec<PlannedFile>) {
    let mut lines = vec![NOTE.to_owned()];
    // Programs read one or the other.
    let mut both = |name: &str, value: &str| {
        for name in [name.to_ascii_uppercase(), name.to_owned()] {
            lines.push(format!("{name}=\"{value}\"\n"));
        }
    };
    for (key, written) in [("http", &proxy.http), ("https", &proxy.https)] {
        let Some(written) = written else { continue };
        let secret = secrets.get(&path!["network", "proxy", key]);
        if let Some(secret) = secret {
            files.push(PlannedFile::secret(&of_proxy(key), secret.to_owned()));
        }
        both(&format!("{key}_proxy"), secret.unwrap_or(written));
    }
    let around: Vec<&str> = OWN
        .into_iter()
        .chain(proxy.no_proxy.iter().map(String::as_str))
        .collect();
    both("no_proxy", &around.join(","));
    files.push(PlannedFile::private(places::PROXY, lines.concat()));
}
