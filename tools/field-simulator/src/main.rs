//! Runs simulated Modbus devices from a plan, with an HTTP interface to make them misbehave.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use field_simulator::{Plan, Simulator, control};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Modbus devices whose every value can be checked, with scripted faults.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The devices, as YAML.
    #[arg(long)]
    plan: PathBuf,
    /// Where the control interface (HTTP) listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    control_address: SocketAddr,
    /// Receives the ready line, too, complete or not at all.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter =
        EnvFilter::try_from_env("FIELDGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();

    let plan = Plan::load(&arguments.plan)?;
    let simulator = Arc::new(Simulator::start(&plan).await?);
    let address = arguments.control_address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for control"))?;
    let ready = serde_json::json!({"control_port": listener.local_addr()?.port(), "devices": control::listed(&simulator)});
    announce(&ready.to_string(), arguments.ready_file.as_deref())?;

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, control::router(simulator)) => served.context("the control interface failed")?,
        _ = terminate.recv() => info!("stopping after SIGTERM"),
        interrupted = tokio::signal::ctrl_c() => { interrupted?; info!("stopping after SIGINT"); }
    }
    Ok(())
}

fn announce(line: &str, file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = file {
        let unfinished = file.with_extension("unfinished");
        std::fs::write(&unfinished, line)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        std::fs::rename(&unfinished, file)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    // Whoever started the simulator may not read its output: that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}
