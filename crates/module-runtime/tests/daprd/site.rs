//! A broker and a sidecar on loopback, in a folder of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use module_runtime::{DaprSidecar, ModuleArgs};
use serde_json::{Value, json};
use tempfile::TempDir;

const STREAMS: [(&str, &str); 2] = [("TELEMETRY", "telemetry"), ("DEADLETTER", "deadletter")];

/// The component of image/dapr/jetstream.
const JETSTREAM: (&str, &str) = ("pubsub.jetstream", "v2");
/// How long the broker waits for a sidecar that has vanished.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(1);
/// The pause before a refused event comes again.
pub(crate) const REDELIVER_DELAY: Duration = Duration::from_millis(500);
/// The most events of a subscription that wait for an answer.
pub(crate) const MAX_ACK_PENDING: usize = 64;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    module: ModuleArgs,
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) args: ModuleArgs,
    directory: TempDir,
    daprd_program: PathBuf,
    app_port: u16,
    nats_program: PathBuf,
    nats_port: u16,
    broker: Option<Process>,
    daprd: Option<Process>,
}

impl Site {
    /// A running broker with its streams; the sidecar is started by [`Site::start_daprd`].
    pub(crate) fn start(app_port: u16) -> Self {
        let daprd_program = program("FIELDGATE_DAPRD", "fieldgate-dapr");
        let nats_program = program("FIELDGATE_NATS_SERVER", "nats-server");
        let directory = tempfile::tempdir().unwrap();
        let nats_port = free_port();
        write_resources(directory.path(), nats_port);

        let (grpc, http) = (free_port().to_string(), free_port().to_string());
        let args = Arguments::try_parse_from([
            "module",
            "--config=none",
            "--dapr-api-token=hunter2",
            "--app-api-token=hunter3",
            &format!("--dapr-grpc-port={grpc}"),
            &format!("--dapr-http-port={http}"),
        ])
        .unwrap();
        let mut site = Self {
            args: args.module,
            directory,
            daprd_program,
            app_port,
            nats_program,
            nats_port,
            broker: None,
            daprd: None,
        };
        site.start_broker();
        site.create_streams();
        site
    }

    fn create_streams(&self) {
        for (stream, topic) in STREAMS {
            create_stream(self.nats_port, stream, topic);
        }
    }

    pub(crate) fn sidecar(&self) -> Arc<DaprSidecar> {
        DaprSidecar::new(&self.args)
    }

    pub(crate) fn start_daprd(&mut self) {
        let mut daprd = Command::new(&self.daprd_program);
        if self.daprd_program.ends_with("fieldgate-dapr") {
            daprd.arg("daprd");
        }
        daprd
            .args(["--app-id", "module", "--dapr-listen-addresses", "127.0.0.1"])
            .args(["--dapr-internal-grpc-listen-address", "127.0.0.1"])
            .args(["--dapr-grpc-port", &self.args.dapr_grpc_port.to_string()])
            .args(["--dapr-http-port", &self.args.dapr_http_port.to_string()])
            .args(["--dapr-internal-grpc-port", &free_port().to_string()])
            .args(["--enable-metrics=false", "--log-level", "warn"])
            .arg("--resources-path")
            .arg(self.directory.path().join("resources"))
            .arg("--config")
            .arg(self.directory.path().join("configuration.yaml"))
            .env("DAPR_API_TOKEN", "hunter2")
            .env("APP_API_TOKEN", "hunter3")
            .env("DAPR_HOST_IP", "127.0.0.1")
            .env("NO_PROXY", "127.0.0.1,localhost");
        if self.app_port != 0 {
            daprd.args(["--app-protocol", "http", "--app-port"]);
            daprd.arg(self.app_port.to_string());
        }
        self.daprd = Some(Process::start(daprd));
    }

    pub(crate) fn kill_daprd(&mut self) {
        self.daprd = None;
    }

    /// The broker, with what it stored.
    pub(crate) fn start_broker(&mut self) {
        let mut nats = Command::new(&self.nats_program);
        nats.args(["-a", "127.0.0.1", "-p", &self.nats_port.to_string()])
            .arg("-js")
            .arg("-sd")
            .arg(self.directory.path().join("nats"));
        self.broker = Some(Process::start(nats));
        drop(connect(self.nats_port));
    }

    /// The broker on a disk of its own: without the events and the consumers that were there.
    pub(crate) fn start_empty_broker(&mut self) {
        std::fs::remove_dir_all(self.directory.path().join("nats")).unwrap();
        self.start_broker();
        self.create_streams();
    }

    /// As kill -9 does it.
    pub(crate) fn kill_broker(&mut self) {
        self.broker = None;
    }
}

#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program(variable: &str, name: &str) -> PathBuf {
    let given = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    let path = given(variable).map_or_else(
        || {
            let folder = given("FIELDGATE_PLATFORM_DIR").map(PathBuf::from);
            let target = given("CARGO_TARGET_DIR").map(PathBuf::from);
            folder
                .or_else(|| Some(target?.join("platform")))
                .unwrap_or_else(|| {
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/platform")
                })
                .join(name)
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "{} is not there: run scripts/demo or scripts/test once, it builds target/platform; or set FIELDGATE_PLATFORM_DIR or {variable}",
        path.display()
    );
    path
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

/// A connection to the broker, as soon as it takes one.
fn connect(port: u16) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// A stream must exist before Dapr's component can use it.
fn create_stream(port: u16, name: &str, topic: &str) {
    let mut stream = connect(port);
    let configuration = json!({
        "name": name,
        "subjects": [topic],
        "storage": "file",
        "retention": "limits",
        "max_bytes": 64 << 20,
        "num_replicas": 1,
        "duplicate_window": 120_000_000_000_u64,
    })
    .to_string();
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.CREATE.{name} answer {}\r\n{configuration}\r\n",
        configuration.len()
    )
    .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let answer = BufReader::new(stream)
        .lines()
        .map(|line| line.unwrap())
        .find(|line| line.starts_with('{'))
        .unwrap();
    assert!(answer.contains("did_create"), "{answer}");
}

/// JSON is YAML.
fn write_resources(directory: &Path, nats_port: u16) {
    let resources = directory.join("resources");
    std::fs::create_dir(&resources).unwrap();
    let component = |name: &str, (kind, version): (&str, &str), metadata: &[(&str, &str)]| {
        let metadata: Vec<Value> = metadata
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let component = json!({
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Component",
            "metadata": {"name": name},
            "spec": {"type": kind, "version": version, "metadata": metadata},
        });
        std::fs::write(
            resources.join(format!("{name}.yaml")),
            component.to_string(),
        )
        .unwrap();
    };
    let url = format!("nats://127.0.0.1:{nats_port}");
    component("pubsub", JETSTREAM, &[("natsURL", url.as_str())]);
    for (stream, topic) in STREAMS {
        let pending = MAX_ACK_PENDING.to_string();
        let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
        let consumer = [
            ("natsURL", url.as_str()),
            ("streamName", stream),
            ("durableName", topic),
            ("ackWait", &milliseconds(ACK_WAIT)),
            ("redeliverDelay", &milliseconds(REDELIVER_DELAY)),
            ("maxAckPending", &pending),
        ];
        component(&format!("pubsub-{topic}"), JETSTREAM, &consumer);
    }
    let secrets = directory.join("secrets.json");
    std::fs::write(&secrets, r#"{"iothub":{"connection-string":"HostName=h"}}"#).unwrap();
    component(
        "secrets",
        ("secretstores.local.file", "v1"),
        &[
            ("secretsFile", &secrets.display().to_string()),
            ("multiValued", "true"),
        ],
    );
    let configuration = json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": {"name": "test"},
        "spec": {
            "nameResolution": {"component": "sqlite", "version": "v1", "configuration": {
                "connectionString": directory.join("names.db").display().to_string(),
                "cleanupInterval": "0",
            }},
            "tracing": {"samplingRate": "0"},
            "metrics": {"enabled": false},
            "mtls": {"enabled": false},
        },
    });
    std::fs::write(
        directory.join("configuration.yaml"),
        configuration.to_string(),
    )
    .unwrap();
}
