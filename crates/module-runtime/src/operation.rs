//! A module's life: logs, configuration, servers, sidecar, standby, status, its work, shutdown.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::ModuleArgs;
use crate::commands::Commands;
use crate::configuration::{ConfigurationError, ConfigurationWatch, ModuleConfiguration, load};
use crate::health::{Health, HealthFlag};
use crate::ops::{Ops, metrics_builder};
use crate::runtime::{ModuleInfo, Runtime};
use crate::server::{bind, serve};
use crate::sidecar::{DaprSidecar, Sidecar};
use crate::standby::Standby;
use crate::status::{Publisher, StatusPublisher};
use crate::{logs, shutdown};

const SIDECAR_CHECK: Duration = Duration::from_secs(5);
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// What the servers and the status task get to end once the module has.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Why a module ended.
#[derive(Debug)]
pub(crate) enum Failure {
    Configuration(ConfigurationError),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Runs `work` with everything around it.
pub(crate) async fn operate<C, W>(
    module: ModuleInfo,
    mut args: ModuleArgs,
    path: &Path,
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

    let mut configuration = load::<C>(path).map_err(Failure::Configuration)?;
    let mut watch = ConfigurationWatch::new(path, Some(configuration.hash.clone()))?;

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
    let sidecar_flag = health.component("sidecar");
    let standby = args
        .lock
        .as_deref()
        .map(|lock| Standby::new(lock, module.name, health.clone(), sidecar_flag.clone()))
        .transpose()?;
    commands.set_standby(standby.is_some());
    // Operation ends last, so that probes and figures are there while the module finishes.
    let finished = CancellationToken::new();
    let app_router = commands.router(args.app_api_token.clone());
    let mut tasks = vec![
        tokio::spawn(serve(ops_listener, ops.router(), finished.clone())),
        tokio::spawn(serve(app_listener, app_router, shutdown.clone())),
        tokio::spawn(upkeep(metrics, finished.clone())),
        tokio::spawn(watch_sidecar(
            Arc::clone(&sidecar),
            sidecar_flag,
            finished.clone(),
        )),
    ];

    let mut rejected = None;
    if let Some(standby) = standby {
        let taken = standby
            .take_over(configuration, &mut watch, &shutdown)
            .await?;
        let Some(taken) = taken else {
            finished.cancel();
            end(tasks).await;
            tracing::info!("stopped");
            return Ok(());
        };
        taken.lock.keep_until_exit();
        configuration = taken.configuration;
        rejected = taken.rejected;
    }

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
    tasks.push(publishing);
    status.in_force(&configuration);
    if let Some(error) = rejected {
        status.record_rejected(&error);
    }
    // No await from here to the work's first: no call sees commands that are neither refused nor there.
    commands.set_standby(false);
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

async fn watch_sidecar(sidecar: Arc<dyn Sidecar>, flag: HealthFlag, finished: CancellationToken) {
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
