//! The command line of Fieldgate.

mod agent;
mod bench;
mod chaos;
mod confirm;
mod demo;
mod duration;
mod evidence;
mod flash;
mod guard;
mod health;
mod http;
mod install;
mod manifests;
mod metrics;
mod notes;
mod procfs;
mod provision;
mod queue;
mod report;
mod reset;
mod routes;
mod secrets;
mod sha256;
mod signals;
mod size;
mod snapshot;
mod system;
mod update;
mod view;
mod whole_file;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Fieldgate: from field devices to IoT Hub.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    Manifests(manifests::ManifestsArgs),
    Install(install::InstallArgs),
    Uninstall(install::UninstallArgs),
    Secrets(secrets::SecretsArgs),
    Provision(provision::ProvisionArgs),
    Reset(reset::ResetArgs),
    Health(health::HealthArgs),
    Update(update::UpdateArgs),
    Flash(flash::FlashArgs),
    Agent(agent::AgentArgs),
    #[command(subcommand)]
    Routes(routes::RoutesCommand),
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Ends the processes of a demo that died
    #[command(hide = true)]
    Guard,
}

fn main() -> Result<ExitCode> {
    let started = SystemTime::now();
    match Arguments::parse().command {
        Command::Demo(args) => runtime()?.block_on(demo::run(args, started)),
        Command::Bench(command) => runtime()?.block_on(bench::run(command)),
        Command::Manifests(args) => manifests::run(args),
        Command::Install(args) => runtime()?
            .block_on(install::run(args))
            .map(|()| ExitCode::SUCCESS),
        Command::Uninstall(args) => runtime()?
            .block_on(install::uninstall(args))
            .map(|()| ExitCode::SUCCESS),
        Command::Secrets(args) => runtime()?
            .block_on(secrets::run(args))
            .map(|()| ExitCode::SUCCESS),
        Command::Provision(args) => provision::run(&args),
        Command::Reset(args) => reset::run(&args),
        Command::Health(args) => runtime()?.block_on(health::run(args)),
        Command::Update(args) => runtime()?.block_on(update::run(args)),
        Command::Flash(args) => flash::run(&args),
        Command::Agent(args) => runtime()?.block_on(agent::run(args)),
        Command::Routes(command) => routes::run(&command),
        Command::Queue(command) => queue::run(&command),
        Command::Guard => guard::run().map(|()| ExitCode::SUCCESS),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")
}
