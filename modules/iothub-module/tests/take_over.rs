//! Two instances on one queue: the one in standby leaves the queue alone, and opens it when the other has closed it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use module_runtime::test_support::{ModuleProcess, SidecarPort};

const STANDBY: &str = "fieldgate_iothub_module_standby";

fn start(folder: &Path, name: &str, sidecar: &SidecarPort) -> ModuleProcess {
    let configuration = folder.join(format!("{name}.yaml"));
    let document = format!(
        "hub: {{connection_string_file: {0}/missing}}\nqueue: {{path: {0}/queue.db}}\nsubscriptions: [{{pubsub: p, topic: telemetry}}]\n",
        folder.display()
    );
    std::fs::write(&configuration, document).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_iothub-module"));
    command
        .arg("--config")
        .arg(configuration)
        .arg("--lock")
        .arg(folder.join("iothub-module.lock"))
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        .env("DAPR_HTTP_PORT", sidecar.port().to_string())
        // Nobody listens there: what is subscribed to waits.
        .env("DAPR_GRPC_PORT", "1");
    ModuleProcess::start(&mut command)
}

#[test]
fn a_standby_opens_the_queue_only_when_the_other_has_closed_it() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = SidecarPort::start(true);
    let mut first = start(folder.path(), "first", &sidecar);
    first.wait_for("queue open");
    let mut second = start(folder.path(), "second", &sidecar);
    second.wait_for("standby: another instance");
    second.until("the second to be ready", ModuleProcess::is_standby);
    assert!(!second.has_logged("queue open"), "{}", second.log());

    first.terminate();
    let (status, log) = first.ended();
    assert_eq!(status, Some(0), "{log}");
    second.wait_for("queue open");
    second.until("the second to work", |second| {
        second.figure(STANDBY) == Some(0.0) && second.readiness().0 == 200
    });

    let mut third = start(folder.path(), "third", &sidecar);
    third.wait_for("standby: another instance");
    second.kill();
    third.wait_for("queue open");
    every_figure_has_its_help(&third);
    third.terminate();
    let (status, log) = third.ended();
    assert_eq!(status, Some(0), "{log}");
}

fn every_figure_has_its_help(module: &ModuleProcess) {
    let connected = "fieldgate_iothub_module_connected";
    module.until("the first figures", |module| {
        module.figure(connected).is_some()
    });
    let (_, text) = module.get("/metrics");
    let mut figures = 0;
    for line in text.lines() {
        if let Some(figure) = line.strip_prefix("# TYPE ") {
            let name = figure.split(' ').next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}\n{text}");
            figures += 1;
        }
    }
    assert!(figures > 5, "{text}");
}
