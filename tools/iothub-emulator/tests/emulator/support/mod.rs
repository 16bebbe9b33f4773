//! What the tests share: an emulator in a temporary folder, a device that speaks raw MQTT, and a little HTTP.

mod device;
mod http;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use device::{Device, Login};
pub(crate) use http::request as http_request;
use iothub_emulator::{Emulator, Options, Ports, Running};
use iothub_protocol::{HubIdentity, SasToken, SharedAccessKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const HUB: &str = "hub.example";
/// For anything that a test waits for; generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An emulator with its folder.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) running: Running,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path(), HUB);
        adjust(&mut options);
        let running = Emulator::start(options).await.unwrap();
        Self { folder, running }
    }

    /// Stops the emulator and starts another one on the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    pub(crate) async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { folder, running } = self;
        running.stop().await;
        meanwhile(folder.path());
        let running = Emulator::start(Options::new(folder.path(), HUB))
            .await
            .unwrap();
        Self { folder, running }
    }

    pub(crate) fn ports(&self) -> Ports {
        self.running.ports
    }

    /// Registers a device or module and returns what it needs to log in.
    pub(crate) async fn register(&self, client_id: &str) -> Login {
        let identity = HubIdentity::from_client_id(client_id).unwrap();
        let path = resource(&identity);
        let (status, registered) = self.http("PUT", &path, "").await;
        assert_eq!(status, 200, "{registered}");
        let key = SharedAccessKey::from_base64(registered["primaryKey"].as_str().unwrap()).unwrap();
        Login::new(identity, key)
    }

    /// A connected device.
    pub(crate) async fn connect(&self, login: &Login) -> Device {
        let (device, code, _) = self.try_connect(login).await;
        assert_eq!(code, 0, "refused");
        device
    }

    /// A device, the CONNACK's return code and whether a session was present.
    pub(crate) async fn try_connect(&self, login: &Login) -> (Device, u8, bool) {
        Device::connect(self.ports().mqtt, tls(self.folder.path()), login).await
    }

    /// Status and JSON (or nothing).
    pub(crate) async fn http(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.http_text(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn http_text(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        http::request(self.ports().control, method, path, body).await
    }

    /// All recorded messages.
    pub(crate) async fn messages(&self) -> Vec<Value> {
        let (status, text) = self.http_text("GET", "/messages?limit=100000", "").await;
        assert_eq!(status, 200);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) async fn fault(&self, fault: &str) {
        let (status, answer) = self.http("POST", "/faults", fault).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// The control interface's path of an identity.
pub(crate) fn resource(identity: &HubIdentity) -> String {
    match identity.module() {
        None => format!("/devices/{}", identity.device()),
        Some(module) => format!("/devices/{}/modules/{module}", identity.device()),
    }
}

pub(crate) fn token(identity: &HubIdentity, key: &SharedAccessKey, expiry: u64) -> String {
    SasToken::create(&identity.sas_resource(HUB), key, expiry, None).to_string()
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Trusts the emulator's own authority and nothing else.
pub(crate) fn tls(data: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(data.join("ca.pem")).unwrap())
        .unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Arc::new(
        builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
