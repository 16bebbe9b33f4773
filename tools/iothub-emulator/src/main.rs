//! The emulator as a process: reads the command line, starts, says where it listens, and waits for a signal.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iothub_emulator::{Emulator, Options, UndocumentedTopics};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// IoT Hub on the wire, for tests and demonstrations.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Folder for certificates, registry, twins and messages; made if missing, kept across restarts
    #[arg(long)]
    data: PathBuf,
    /// The hub's name in connection strings, user names and tokens
    #[arg(long, value_name = "NAME")]
    host_name: String,
    /// Where MQTT over TLS listens; Microsoft's SDKs know only port 8883, port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8883")]
    mqtt_address: SocketAddr,
    /// Where the control interface (HTTP, no authentication) listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    control_address: SocketAddr,
    /// Another name or IP address for the server certificate; can be repeated
    #[arg(long = "san", value_name = "NAME", num_args = 1..)]
    subject_alt_names: Vec<String>,
    /// What happens on topics that IoT Hub does not document
    #[arg(long, value_enum, default_value_t)]
    undocumented_topics: UndocumentedTopics,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the chain: the messages hold their causes.
            eprintln!("iothub-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter =
        EnvFilter::try_from_env("FIELDGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();

    // Before the emulator is ready, so that no signal is missed.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let options = Options {
        mqtt_address: arguments.mqtt_address,
        control_address: arguments.control_address,
        subject_alt_names: arguments.subject_alt_names,
        undocumented_topics: arguments.undocumented_topics,
        ..Options::new(arguments.data, arguments.host_name)
    };
    let running = Emulator::start(options).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(running.endpoints())?)
        .and_then(|()| stdout.flush())
        .map_err(|error| anyhow::anyhow!("standard output: {error}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}
