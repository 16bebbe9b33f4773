//! Two instances for one device: the one in standby does not touch it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::Command;

use module_runtime::test_support::{ModuleProcess, SidecarPort};
use support::Server;

const POLLS: &str = "fieldgate_modbus_reader_polls_total";

fn start(folder: &Path, name: &str, device: &Server, sidecar: &SidecarPort) -> ModuleProcess {
    let configuration = folder.join(format!("{name}.yaml"));
    let document = format!(
        "links: [{{name: line, tcp: {{host: 127.0.0.1, port: {}}}}}]\n\
         devices: [{{name: press, link: line}}]\n\
         groups: [{{name: all, devices: [press], period: 20ms, tags: [{{name: level, table: holding-register, address: 1, type: u16}}]}}]\n",
        device.address.port()
    );
    std::fs::write(&configuration, document).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_modbus-reader"));
    command
        .arg("--config")
        .arg(configuration)
        .arg("--lock")
        .arg(folder.join("modbus-reader.lock"))
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        // What is not published at the end is lost here, and not waited for.
        .args(["--grace-period", "2s"])
        .env("DAPR_HTTP_PORT", sidecar.port().to_string())
        .env("DAPR_GRPC_PORT", "1");
    ModuleProcess::start(&mut command)
}

fn polls(module: &ModuleProcess) -> f64 {
    module.figure(POLLS).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_does_not_touch_the_device_until_it_takes_over() {
    let device = Server::start().await;
    // Waiting blocks; the device answers on the runtime's threads.
    let done = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = SidecarPort::start(true);
        let mut first = start(folder.path(), "first", &device, &sidecar);
        first.until("the first to read", |first| polls(first) > 3.0);
        let mut second = start(folder.path(), "second", &device, &sidecar);
        second.wait_for("standby: another instance");
        second.until("the second to be ready", ModuleProcess::is_standby);
        let before = polls(&first);
        first.until("the first to go on", |first| polls(first) > before + 3.0);
        assert_eq!(device.connections(), 1);
        let (status, answer) =
            second.command("POST", "/read", r#"{"device":"press","tag":"level"}"#);
        assert!(status == 503 && answer.contains("standby"), "{answer}");

        first.kill();
        second.wait_for("standby ended");
        second.until("the second to read", |second| polls(second) > 3.0);
        assert_eq!(device.connections(), 2);
    });
    done.await.unwrap();
}
