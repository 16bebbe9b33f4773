//! The module as a process on a machine without a host: what it says, and that it works all the same as far as it can.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use module_runtime::test_support::{ModuleProcess, SidecarPort};
use serde_json::Value;

fn start(folder: &Path, sidecar: &SidecarPort) -> ModuleProcess {
    let configuration = folder.join("device-agent.yaml");
    let document = format!("socket: {}/agent.sock\n", folder.display());
    std::fs::write(&configuration, document).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-agent"));
    command
        .arg("--config")
        .arg(configuration)
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        .env("DAPR_HTTP_PORT", sidecar.port().to_string())
        // Nobody listens there: what is subscribed to waits.
        .env("DAPR_GRPC_PORT", "1");
    ModuleProcess::start(&mut command)
}

#[test]
fn without_a_host_it_says_where_one_would_be_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = SidecarPort::start(true);
    let module = start(folder.path(), &sidecar);
    let socket = folder.path().join("agent.sock").display().to_string();
    module.until("the host to be missed", |module| {
        let (status, answer) = module.readiness();
        let reason = answer["reasons"]["host"].as_str().unwrap_or_default();
        status == 503 && reason.contains(&socket)
    });
    assert_eq!(module.get("/healthz").0, 200);

    let (status, answer) = module.command("POST", "/update-status", "");
    let error: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &error["error"]["code"]), (503, &"no-host".into()));
    let (status, answer) = module.command("POST", "/reset", r#"{"preserve": []}"#);
    assert_eq!(status, 400, "{answer}");

    let (_, text) = module.get("/metrics");
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name}\n{text}");
    }
    assert_eq!(
        module.figure("fieldgate_device_agent_host_available"),
        Some(0.0)
    );
    module.terminate();
    let (status, log) = module.ended();
    assert_eq!(status, Some(0), "{log}");
}
