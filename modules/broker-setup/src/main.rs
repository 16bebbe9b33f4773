//! Keeps the broker's streams and consumers as planned: the container `setup` beside nats-server.
//!
//! It is no Dapr application and has no sidecar: it is ready when the broker is like its plan, and with it the pod, so that
//! nobody can publish before every consumer exists (docs/decisions/0007).

mod args;
mod connection;
mod figures;
mod operate;
mod plan_file;

use std::process::ExitCode;

use clap::Parser;
use module_runtime::EXIT_CONFIGURATION;

use crate::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(operate::run(args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(problems) = operate::problems(&error) {
                for problem in problems {
                    tracing::error!(problem, "invalid configuration");
                }
                return ExitCode::from(EXIT_CONFIGURATION);
            }
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    }
}
