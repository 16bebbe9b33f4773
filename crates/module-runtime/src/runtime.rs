//! Puts a module together: arguments, logs, configuration, servers, sidecar, status, its work, shutdown.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::ModuleArgs;
use crate::commands::Commands;
use crate::configuration::{
    ConfigurationError, ConfigurationWatch, Loaded, ModuleConfiguration, document_schema, load,
};
use crate::health::Health;
use crate::ops::{Ops, metrics_builder};
use crate::server::{bind, serve};
use crate::sidecar::{DaprSidecar, Sidecar};
use crate::status::{Publisher, StatusPublisher};
use crate::{logs, shutdown};

/// Exit status of an invalid first configuration (EX_CONFIG of sysexits.h): no restart helps.
pub const EXIT_CONFIGURATION: u8 = 78;

const SIDECAR_CHECK: Duration = Duration::from_secs(5);
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// What the servers and the status task get to end once the module has.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Which module this is; make it with [`crate::module!`].
#[derive(Debug, Clone, Copy)]
pub struct ModuleInfo {
    /// The default of `--module`.
    pub name: &'static str,
    /// The module's version.
    pub version: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
}

/// The calling crate as a [`ModuleInfo`].
#[macro_export]
macro_rules! module {
    () => {
        $crate::ModuleInfo {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            about: env!("CARGO_PKG_DESCRIPTION"),
        }
    };
}

/// What a running module is given. All of it is the module's to take apart.
#[derive(Debug)]
pub struct Runtime<C> {
    /// The arguments; `appliance` and `module` are filled in.
    pub args: ModuleArgs,
    /// The appliance's name.
    pub appliance: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: &'static str,
    /// The Dapr sidecar.
    pub sidecar: Arc<dyn Sidecar>,
    /// Behind /readyz. Has the part "sidecar" already.
    pub health: Health,
    /// Cancelled at SIGTERM and SIGINT: stop taking in, finish what is in flight, return.
    pub shutdown: CancellationToken,
    /// Add commands here; they are served already.
    pub commands: Commands,
    /// Publishes the module's state. `configuration` is reported as in force already.
    pub status: StatusPublisher,
    /// The first configuration.
    pub configuration: Loaded<C>,
    /// Tells of later ones. Report each with [`StatusPublisher::in_force`] or [`StatusPublisher::rejected`].
    pub watch: ConfigurationWatch<C>,
}

/// Runs a module from its command line to its exit status, on a runtime of one thread.
///
/// `work` gets the [`Runtime`] and returns when its `shutdown` is cancelled; returning earlier, or an error, ends the
/// process with status 1. After SIGTERM it has the grace period (20 s) to return.
///
/// Exit status: 0 after SIGTERM, 78 for an invalid first configuration, 2 for wrong arguments, 1 otherwise.
pub fn run<C, W>(module: ModuleInfo, work: W) -> ExitCode
where
    C: ModuleConfiguration,
    W: AsyncFnOnce(Runtime<C>) -> anyhow::Result<()>,
{
    let command = ModuleArgs::augment_args(
        Command::new(module.name)
            .version(module.version)
            .about(module.about),
    );
    let parsed = command
        .try_get_matches()
        .and_then(|matches: ArgMatches| ModuleArgs::from_arg_matches(&matches));
    match parsed {
        Ok(args) => run_with(module, args, work),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// [`run`] for a module with arguments of its own, which parsed [`ModuleArgs`] itself.
pub fn run_with<C, W>(module: ModuleInfo, args: ModuleArgs, work: W) -> ExitCode
where
    C: ModuleConfiguration,
    W: AsyncFnOnce(Runtime<C>) -> anyhow::Result<()>,
{
    if args.print_schema {
        return print(&format!("{:#}\n", document_schema::<C>()));
    }
    let Some(path) = args.config.clone() else {
        tell("give the configuration with --config FILE or FIELDGATE_CONFIG");
        return ExitCode::from(2);
    };
    if args.check {
        return match load::<C>(&path) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error.to_string());
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(operate(module, args, &path, work)),
        Err(error) => Err(Failure::Other(
            anyhow::Error::new(error).context("cannot start the runtime"),
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => {
            for problem in &error.problems {
                tracing::error!(%problem, "invalid configuration");
            }
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(Failure::Other(error)) => {
            if tracing::dispatcher::has_been_set() {
                tracing::error!(error = format!("{error:#}"), "ended");
            } else {
                tell(&format!("{}: {error:#}", module.name));
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes a line to stderr; where nobody reads it, the exit code still tells.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

enum Failure {
    Configuration(ConfigurationError),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

async fn operate<C, W>(
    module: ModuleInfo,
    mut args: ModuleArgs,
    path: &std::path::Path,
    work: W,
) -> Result<(), Failure>
where
    C: ModuleConfiguration,
    W: AsyncFnOnce(Runtime<C>) -> anyhow::Result<()>,
{
    let logs = logs::init()?;
    log_panics();
    let shutdown = CancellationToken::new();
    shutdown::on_signals(shutdown.clone()).context("cannot catch SIGTERM")?;

    let configuration = load::<C>(path).map_err(Failure::Configuration)?;
    let watch = ConfigurationWatch::new(path, Some(configuration.hash.clone()))?;

    let appliance = args.appliance_name();
    let name = args
        .module
        .clone()
        .unwrap_or_else(|| module.name.to_owned());
    args.appliance = Some(appliance.clone());
    args.module = Some(name.clone());
    tracing::info!(
        module = name,
        version = module.version,
        appliance,
        configuration = configuration.name,
        configuration_version = configuration.version,
        configuration_hash = configuration.hash,
        "starting"
    );

    let metrics = metrics_builder()
        .and_then(metrics_exporter_prometheus::PrometheusBuilder::install_recorder)
        .context("cannot set up metrics")?;
    let health = Health::new();
    let commands = Commands::new();
    let ops = Ops {
        health: health.clone(),
        logs: Some(logs),
        metrics: Some(metrics.clone()),
    };
    let ops_listener = bind(
        args.ops_address,
        "operation",
        "--ops-address or FIELDGATE_OPS_ADDRESS",
    )
    .await?;
    let app_address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.app_port));
    let app_listener = bind(app_address, "commands", "--app-port or FIELDGATE_APP_PORT").await?;
    tracing::info!(
        operation = %ops_listener.local_addr()?,
        commands = %app_listener.local_addr()?,
        "listening"
    );

    let sidecar: Arc<dyn Sidecar> = DaprSidecar::new(&args);
    // Operation ends last, so that probes and figures are there while the module finishes.
    let finished = CancellationToken::new();
    let app_router = commands.router(args.app_api_token.clone());
    let publisher = Publisher {
        appliance: appliance.clone(),
        module: name.clone(),
        version: module.version.to_owned(),
        pubsub: args.pubsub.clone(),
    };
    let (status, publishing) = StatusPublisher::start(
        Arc::clone(&sidecar),
        publisher,
        health.clone(),
        finished.clone(),
    );
    status.in_force(&configuration);
    let tasks = vec![
        tokio::spawn(serve(ops_listener, ops.router(), finished.clone())),
        tokio::spawn(serve(app_listener, app_router, shutdown.clone())),
        tokio::spawn(upkeep(metrics, finished.clone())),
        tokio::spawn(watch_sidecar(
            Arc::clone(&sidecar),
            health.clone(),
            finished.clone(),
        )),
        publishing,
    ];

    let grace = args.grace_period.get();
    let working = work(Runtime {
        args,
        appliance,
        module: name,
        version: module.version,
        sidecar,
        health: health.clone(),
        shutdown: shutdown.clone(),
        commands,
        status,
        configuration,
        watch,
    });
    let outcome = supervise(working, &shutdown, &health, grace).await;
    finished.cancel();
    shutdown.cancel();
    end(tasks).await;
    tracing::info!("stopped");
    Ok(outcome?)
}

/// Waits for the module's work: without an end until the shutdown, then for the grace period.
async fn supervise(
    work: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
    health: &Health,
    grace: Duration,
) -> anyhow::Result<()> {
    // On the heap: a module's whole work is a large future.
    let mut work = Box::pin(work);
    tokio::select! {
        outcome = &mut work => {
            if !shutdown.is_cancelled() {
                outcome?;
                anyhow::bail!("the module's work ended without being asked to");
            }
            return outcome;
        }
        () = shutdown.cancelled() => {}
    }
    health.component("shutdown").not_ready("stopping");
    match tokio::time::timeout(grace, work).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!(
            "the module did not finish within {grace:?}; raise FIELDGATE_GRACE_PERIOD if it needs longer"
        ),
    }
}

async fn end(tasks: Vec<JoinHandle<()>>) {
    let deadline = tokio::time::Instant::now() + LAST_REQUESTS;
    for mut task in tasks {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn upkeep(
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    finished: CancellationToken,
) {
    loop {
        tokio::select! {
            () = finished.cancelled() => return,
            () = tokio::time::sleep(METRICS_UPKEEP) => metrics.run_upkeep(),
        }
    }
}

async fn watch_sidecar(sidecar: Arc<dyn Sidecar>, health: Health, finished: CancellationToken) {
    let flag = health.component("sidecar");
    let mut wait = Duration::from_millis(250);
    loop {
        let healthy = tokio::select! {
            () = finished.cancelled() => return,
            healthy = sidecar.healthy() => healthy,
        };
        flag.set_ready(healthy, "the Dapr sidecar is not there or not healthy");
        // Soon at the start, so that a module gets ready with its sidecar.
        wait = if healthy {
            SIDECAR_CHECK
        } else {
            (wait * 2).min(SIDECAR_CHECK)
        };
        tokio::select! {
            () = finished.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// A panic is a log line like every other.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or_default();
        tracing::error!(place, panic = message, "panicked");
    }));
}
