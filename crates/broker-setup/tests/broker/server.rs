//! nats-server on loopback with the configuration that is rendered for the appliance, and users with keys of their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use broker_setup::{
    Cluster, Login, NatsConfiguration, Plan, Text, User, inbox_prefix, nkey_variable,
};
use nkeys::KeyPair;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const MODULES: [&str; 3] = ["setup", "modbus-reader", "iothub-module"];

#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    port: u16,
    directory: TempDir,
    keys: Vec<(&'static str, KeyPair)>,
    process: Option<Running>,
}

#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// A server that has its configuration and does not run yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let port = free_port();
        let server = Self {
            name: "broker-0".to_owned(),
            port,
            directory: tempfile::tempdir().unwrap(),
            keys: MODULES.map(|name| (name, KeyPair::new_user())).to_vec(),
            process: None,
        };
        server.configure(plan, None);
        server
    }

    /// Servers of one cluster with the keys of another server; they do not run yet.
    pub(crate) fn cluster(plan: &Plan, of: &Self, size: usize) -> Vec<Self> {
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let routes = ports
            .iter()
            .map(|port| Text::Literal(format!("nats://broker:hunter2@127.0.0.1:{port}")));
        let routes: Vec<Text> = routes.collect();
        let servers = ports.iter().enumerate().map(|(number, port)| {
            let keys = of.keys.iter().map(|(name, key)| {
                let seed = key.seed().unwrap();
                (*name, KeyPair::from_seed(&seed).unwrap())
            });
            let server = Self {
                name: format!("broker-{number}"),
                port: free_port(),
                directory: tempfile::tempdir().unwrap(),
                keys: keys.collect(),
                process: None,
            };
            let cluster = Cluster {
                name: "test".to_owned(),
                listen: format!("127.0.0.1:{port}"),
                user: "broker".to_owned(),
                password: Text::Literal("hunter2".to_owned()),
                routes: routes.clone(),
            };
            server.configure(plan, Some(cluster));
            server
        });
        servers.collect()
    }

    /// A configuration without the others.
    pub(crate) fn leave(&self, plan: &Plan) {
        self.configure(plan, None);
    }

    fn configure(&self, plan: &Plan, cluster: Option<Cluster>) {
        let store = self
            .directory
            .path()
            .join("jetstream")
            .display()
            .to_string();
        let listen = format!("127.0.0.1:{}", self.port);
        let mut configuration = NatsConfiguration::new(plan, listen, store);
        configuration.cluster = cluster;
        configuration.server_name = Text::Variable("POD_NAME".to_owned());
        let module = |name: &str, publishes: &[&str], subscribes: &[&str]| {
            User::module(Login::nkey_of(name), plan, name, publishes, subscribes)
        };
        configuration.users = vec![
            User::setup(Login::nkey_of("setup")),
            module(
                "modbus-reader",
                &["telemetry", "alarms", "status", "deadletter"],
                &[],
            ),
            module(
                "iothub-module",
                &["commands", "config", "status"],
                &["telemetry", "status"],
            ),
        ];
        std::fs::write(self.configuration_file(), configuration.to_string()).unwrap();
    }

    pub(crate) fn running(plan: &Plan) -> Self {
        let mut server = Self::new(plan);
        server.start();
        server
    }

    pub(crate) fn start(&mut self) {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.configuration_file());
        let log = std::fs::File::create(self.log_file()).unwrap();
        command.env("POD_NAME", &self.name);
        command.stdin(Stdio::null()).stderr(log);
        for (name, key) in &self.keys {
            command.env(nkey_variable(name), key.public_key());
        }
        self.process = Some(Running(command.spawn().unwrap()));
    }

    /// What a client connects to.
    pub(crate) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The private key of a user.
    pub(crate) fn seed(&self, user: &str) -> String {
        let (_, key) = self.keys.iter().find(|(name, _)| *name == user).unwrap();
        key.seed().unwrap()
    }

    /// As kill -9 does it.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    fn configuration_file(&self) -> PathBuf {
        self.directory.path().join("nats.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("nats-server.log")
    }

    /// What it has said since it was started last.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    /// Connects as soon as the server takes connections.
    pub(crate) async fn client(&self, user: &str) -> Client {
        self.watched(user).await.0
    }

    /// A connection, and what the server says against it.
    pub(crate) async fn watched(&self, user: &str) -> (Client, Refusals) {
        let refusals = Refusals::default();
        let heard = refusals.clone();
        let options = ConnectOptions::with_nkey(self.seed(user))
            .custom_inbox_prefix(inbox_prefix(user))
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .event_callback(move |event| {
                let heard = heard.clone();
                async move {
                    if let Event::ServerError(error) = event {
                        heard.0.lock().unwrap().push(error.to_string());
                    }
                }
            });
        let client = self.connect(options).await.unwrap();
        (client, refusals)
    }

    pub(crate) async fn connect(
        &self,
        options: ConnectOptions,
    ) -> Result<Client, async_nats::ConnectError> {
        tokio::time::timeout(PATIENCE, options.connect(self.address()))
            .await
            .unwrap()
    }
}

/// Below the range from which the kernel takes the ports of outgoing connections: none of them is in the way when the server starts, or
/// starts again.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + u16::try_from(number % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Vec<String>>>);

impl Refusals {
    /// Returns when the server has refused something with all these words.
    pub(crate) async fn hear(&self, words: &[&str]) {
        let heard = async {
            loop {
                let found = {
                    let lines = self.0.lock().unwrap();
                    lines.iter().any(|line| {
                        words
                            .iter()
                            .all(|word| line.to_lowercase().contains(&word.to_lowercase()))
                    })
                };
                if found {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, heard).await;
        assert!(
            outcome.is_ok(),
            "not refused: {words:?}; heard {:?}",
            self.0.lock().unwrap()
        );
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Built once by scripts/demo and scripts/test; FIELDGATE_NATS_SERVER names another program, FIELDGATE_PLATFORM_DIR another
/// folder.
fn program() -> PathBuf {
    let given = |variable: &str| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let path = given("FIELDGATE_NATS_SERVER").unwrap_or_else(|| {
        given("FIELDGATE_PLATFORM_DIR")
            .or_else(|| Some(given("CARGO_TARGET_DIR")?.join("platform")))
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/platform"))
            .join("nats-server")
    });
    assert!(
        path.exists(),
        "{} is not there: run scripts/demo or scripts/test once, it builds target/platform; or set FIELDGATE_NATS_SERVER",
        path.display()
    );
    path
}
