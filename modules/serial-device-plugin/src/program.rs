//! The program: command line, logs, figures, endpoints of operation, exit status.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use module_runtime::configuration::document_schema;
use module_runtime::ops::{Ops, metrics_builder};
use module_runtime::{
    CancellationToken, ConfigurationWatch, EXIT_CONFIGURATION, Health, Loaded, load, logs, shutdown,
};
use tokio::net::TcpListener;

use crate::configuration::Configuration;
use crate::engine::{self, Pace};
use crate::figures;

const UPKEEP: Duration = Duration::from_secs(5);
/// What requests for figures get to end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Gives pods their serial ports: a device plugin of the kubelet
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The document with the ports (YAML or JSON)
    #[arg(
        long,
        env = "FIELDGATE_CONFIG",
        value_name = "FILE",
        default_value = "/etc/fieldgate/serial-device-plugin.yaml"
    )]
    config: PathBuf,

    /// Address of /healthz, /readyz, /metrics and /loglevel
    #[arg(
        long,
        env = "FIELDGATE_OPS_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9602"
    )]
    ops_address: SocketAddr,

    /// Validate the document, print every problem and exit (0 valid, 78 not)
    #[arg(long)]
    check: bool,

    /// Print the document's JSON Schema and exit
    #[arg(long)]
    print_schema: bool,
}

/// Runs from the command line to the exit status, on a runtime of one thread.
///
/// Exit status: 0 after SIGTERM, 78 for an invalid first document, 2 for wrong arguments, 1 otherwise.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if args.print_schema {
        let schema = format!("{:#}\n", document_schema::<Configuration>());
        return match std::io::stdout().write_all(schema.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let loaded = load::<Configuration>(&args.config);
    if args.check {
        return match loaded {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error.to_string());
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            runtime.block_on(async {
                let logs = logs::init()?;
                match loaded {
                    Ok(loaded) => operate(args, loaded, logs).await.map(|()| true),
                    Err(error) => {
                        for problem in &error.problems {
                            tracing::error!(%problem, "invalid configuration");
                        }
                        Ok(false)
                    }
                }
            })
        });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_CONFIGURATION),
        Err(error) => {
            if tracing::dispatcher::has_been_set() {
                tracing::error!(error = format!("{error:#}"), "ended");
            } else {
                tell(&format!("{error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to stderr; where nobody reads it, the exit status still tells.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

async fn operate(
    args: Args,
    loaded: Loaded<Configuration>,
    logs: logs::LogControl,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    shutdown::on_signals(stop.clone()).context("cannot catch SIGTERM")?;
    let watch = ConfigurationWatch::new(&args.config, Some(loaded.hash.clone()))?;
    let metrics = metrics_builder()
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot set up metrics")?;
    figures::describe();
    let health = Health::new();
    let ops = Ops {
        health: health.clone(),
        logs: Some(logs),
        metrics: Some(metrics.clone()),
    };
    let listener = TcpListener::bind(args.ops_address).await.with_context(|| {
        format!(
            "cannot listen on {} for operation; choose another address with --ops-address or FIELDGATE_OPS_ADDRESS",
            args.ops_address
        )
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        hash = loaded.hash,
        ports = loaded.configuration.ports.len(),
        operation = %listener.local_addr()?,
        "starting"
    );
    // Operation ends last.
    let finished = CancellationToken::new();
    let serving = axum::serve(listener, ops.router())
        .with_graceful_shutdown(finished.clone().cancelled_owned());
    let serving = tokio::spawn(serving.into_future());
    let upkeep = tokio::spawn(upkeep(metrics, finished.clone()));

    engine::run(loaded.configuration, watch, health, Pace::default(), stop).await;

    finished.cancel();
    let _ = upkeep.await;
    if let Ok(Ok(Err(error))) = tokio::time::timeout(LAST_REQUESTS, serving).await {
        tracing::warn!(%error, "serving operation ended");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn upkeep(metrics: PrometheusHandle, finished: CancellationToken) {
    loop {
        tokio::select! {
            () = finished.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => metrics.run_upkeep(),
        }
    }
}
