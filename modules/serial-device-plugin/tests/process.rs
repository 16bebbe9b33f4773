//! The program as it is installed: arguments, exit statuses, operation, document, end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::kubelet::Kubelet;
use support::runtime::ContainerRuntime;
use support::{DEADLINE, Site, until};

fn command(document: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serial-device-plugin"));
    command
        .arg("--config")
        .arg(document)
        .args(["--ops-address", "127.0.0.1:0"]);
    command
}

/// A running program, and its log so far.
struct Program {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(document: &Path) -> Self {
        let mut child = command(document).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines {
                let line = serde_json::from_str(&line.unwrap()).expect("a line is not JSON");
                seen.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    /// Waits for a line of the log with that message.
    async fn says(&self, message: &str) -> Value {
        until(message, || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line["message"] == message).cloned()
        })
        .await
    }

    /// The answer to a GET at the address of operation.
    async fn get(&self, path: &str) -> String {
        let starting = self.says("starting").await;
        let address = starting["operation"].as_str().unwrap().to_owned();
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    async fn metrics_have(&self, line: &str) {
        let looking = async {
            while !self.get("/metrics").await.contains(line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, looking)
            .await
            .unwrap_or_else(|_| panic!("no {line}"));
    }

    async fn ready(&self) {
        let looking = async {
            while !self.get("/readyz").await.starts_with("HTTP/1.0 200") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, looking)
            .await
            .expect("not ready");
    }

    async fn ends_after(&mut self, signal: Signal) -> Option<i32> {
        let process = Pid::from_raw(self.child.id().cast_signed());
        kill(process, signal).unwrap();
        let child = &mut self.child;
        let status = until("the end", || child.try_wait().unwrap()).await;
        status.code()
    }
}

fn output(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn an_invalid_document_ends_with_78_and_its_places() {
    let site = Site::new();
    site.write("ports:\n  - {name: line-1, path: ttyS0}\n");
    for arguments in [&["--check"][..], &[]] {
        let (status, text) = output(command(&site.document()).args(arguments));
        assert_eq!(status, Some(78), "{text}");
        assert!(text.contains("ports.yaml:4:26: ports[0].path"), "{text}");
    }
    site.describe(&["line-1"]);
    let (status, text) = output(command(&site.document()).arg("--check"));
    assert_eq!((status, text.as_str()), (Some(0), ""));
}

#[test]
fn the_schema_is_printed() {
    let (status, text) = output(command(Path::new("/none")).arg("--print-schema"));
    assert_eq!(status, Some(0), "{text}");
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert!(schema["properties"]["kubelet_directory"].is_object());
}

// The doubles need threads of their own: get() blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_the_program() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    let mut program = Program::start(&site.document());
    kubelet.sees("line-1", "Healthy").await;
    program.says("registered").await;
    assert!(program.get("/healthz").await.starts_with("HTTP/1.0 200"));
    program.ready().await;
    program
        .metrics_have("fieldgate_serial_registrations_total{port=\"line-1\"} 1")
        .await;
    program
        .metrics_have("fieldgate_serial_port_plugged{port=\"line-1\"} 1")
        .await;

    kubelet.allocate("line-1", "line-1-a").await.unwrap();
    program
        .metrics_have("fieldgate_serial_allocations_total{port=\"line-1\"} 1")
        .await;
    runtime.with_device("reader-1", "line-1", &site.port("line-1"), (1, 3));
    site.plug("line-1", "/dev/zero");
    runtime.has_stopped(1).await;
    program
        .metrics_have("fieldgate_serial_containers_restarted_total{port=\"line-1\"} 1")
        .await;

    site.write("ports: [{name: line-1}]\n");
    let rejected = program
        .says("configuration rejected; the one before stays in force")
        .await;
    let problem = rejected["problem"].as_str().unwrap();
    assert!(problem.contains("ports.yaml:3:"), "{problem}");
    assert!(kubelet.resource("line-1").unwrap().devices.len() == 2);
    site.describe(&["line-1", "line-2"]);
    kubelet.sees("line-2", "Unhealthy").await;
    program
        .metrics_have("fieldgate_serial_port_plugged{port=\"line-2\"} 0")
        .await;

    assert_eq!(program.ends_after(Signal::SIGTERM).await, Some(0));
    let left = std::fs::read_dir(site.kubelet_directory()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kubelet.sock"]);
}
