//! The program's work: reconcile at start, when the plan changes, when the broker comes back, and every half minute.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use broker_setup::{Missing, Plan, Report, SetupError, reconcile_with, remove_consumer, save};
use module_runtime::health::HealthFlag;
use module_runtime::ops::{Ops, metrics_builder};
use module_runtime::{CancellationToken, Health, logs, shutdown};
use tokio::net::TcpListener;

use crate::args::{Args, ConsumerName};
use crate::connection::{Connection, SeedError, check_seed};
use crate::figures::Figures;
use crate::plan_file::{PlanFile, PlanFileError};

const EVERY: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Of a whole reconciliation: many requests, of which each has its own deadline.
const RECONCILE: Duration = Duration::from_secs(120);

/// Runs until SIGTERM, or does the one thing that was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let logs = logs::init()?;
    let mut file = PlanFile::new(args.plan.clone());
    let plan = file.load()?;
    if args.check {
        return Ok(());
    }
    let seed = check_seed(args.nkey_seed.as_ref())?;
    let stop = CancellationToken::new();
    shutdown::on_signals(stop.clone()).context("cannot catch SIGTERM")?;
    let health = Health::new();
    if let Some(name) = &args.remove_consumer {
        let connection = Connection::start(&args.broker, seed, &health).await?;
        return remove(&connection, &plan, name).await;
    }
    if let Some(folder) = args.saved.as_ref().filter(|_| args.save) {
        let connection = Connection::start(&args.broker, seed, &health).await?;
        return save_all(&connection, &plan, folder).await;
    }

    let metrics = metrics_builder()
        .and_then(|builder| builder.install_recorder())
        .context("cannot set up metrics")?;
    Figures::describe();
    let listener = TcpListener::bind(args.ops_address).await.with_context(|| {
        format!(
            "cannot listen on {} for operation; choose another with --ops-address or FIELDGATE_OPS_ADDRESS",
            args.ops_address
        )
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        broker = args.broker,
        operation = %listener.local_addr()?,
        "starting"
    );
    let mut keeper = Keeper {
        flag: health.component("plan"),
        connection: Connection::start(&args.broker, seed, &health).await?,
        figures: Figures::default(),
        unplanned: BTreeSet::new(),
        plan,
        candidate: None,
        file,
        saved: args.saved,
        makes_streams: args.server_number == 0,
    };
    let ops = Ops {
        health,
        logs: Some(logs),
        metrics: Some(metrics),
    };
    // Nothing here is worth waiting for: what was begun is repeated by the next start.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = keeper.keep() => Ok(()),
        served = async { axum::serve(listener, ops.router()).await } => {
            served.context("the operation's server ended")
        }
    }
}

/// What is wrong with what the program was given, if that is why it ended; no restart mends it.
pub(crate) fn problems(error: &anyhow::Error) -> Option<Vec<String>> {
    if let Some(error) = error.downcast_ref::<PlanFileError>() {
        return Some(error.lines());
    }
    let error = error.downcast_ref::<SeedError>()?;
    Some(vec![error.to_string()])
}

async fn remove(connection: &Connection, plan: &Plan, name: &ConsumerName) -> anyhow::Result<()> {
    let removed = remove_consumer(&connection.client, plan, &name.stream, &name.durable).await?;
    anyhow::ensure!(
        removed,
        "stream {} has no consumer {}",
        name.stream,
        name.durable
    );
    tracing::info!(stream = name.stream, consumer = name.durable, "removed");
    Ok(())
}

async fn save_all(connection: &Connection, plan: &Plan, folder: &Path) -> anyhow::Result<()> {
    for stream in &plan.streams {
        let file = save(&connection.client, &stream.name, folder).await?;
        tracing::info!(stream = stream.name, file = %file.display(), "saved");
    }
    Ok(())
}

/// Keeps the broker like the plan.
#[derive(Debug)]
struct Keeper {
    file: PlanFile,
    /// In force.
    plan: Plan,
    /// Comes into force when the broker has taken it.
    candidate: Option<Plan>,
    connection: Connection,
    flag: HealthFlag,
    figures: Figures,
    unplanned: BTreeSet<String>,
    /// Where saved streams may be.
    saved: Option<PathBuf>,
    makes_streams: bool,
}

impl Keeper {
    /// Never returns.
    async fn keep(&mut self) {
        loop {
            self.connection.turns.borrow_and_update();
            let plan = self.candidate.as_ref().unwrap_or(&self.plan);
            let missing = match &self.saved {
                _ if !self.makes_streams => Missing::Await,
                Some(folder) => Missing::Restore(folder),
                None => Missing::Create,
            };
            let reconciling = reconcile_with(&self.connection.client, plan, missing);
            let outcome = match tokio::time::timeout(RECONCILE, reconciling).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SetupError::NoAnswer {
                    what: "the set-up as a whole".to_owned(),
                    within: RECONCILE,
                    reason: "too slow".to_owned(),
                }),
            };
            let interrupted = self.connection.turns.has_changed().unwrap_or(false);
            let pause = match outcome {
                // It may have looked at the broker that was there before.
                Ok(report) if interrupted => {
                    tell_changes(&report);
                    continue;
                }
                Ok(report) => {
                    if let Some(plan) = self.candidate.take() {
                        self.plan = plan;
                        Figures::rejected(false);
                    }
                    self.tell(&report);
                    self.flag.ready();
                    EVERY
                }
                Err(error) if self.candidate.is_some() && !is_passing(&error) => {
                    // The pod stays ready, and what the refused plan may have changed already is changed back.
                    self.candidate = None;
                    reject(&[error.to_string()]);
                    continue;
                }
                Err(error) => self.failed(&error),
            };
            self.wait(pause).await;
        }
    }

    fn failed(&self, error: &SetupError) -> Duration {
        tracing::warn!(%error, "the broker is not like its plan; trying again");
        self.flag.not_ready(error.to_string());
        Figures::failed();
        AFTER_FAILURE
    }

    fn tell(&mut self, report: &Report) {
        tell_changes(report);
        let unplanned: BTreeSet<String> = report
            .unplanned()
            .map(|consumer| format!("{}/{}", consumer.stream, consumer.durable))
            .collect();
        for name in unplanned.difference(&self.unplanned) {
            tracing::warn!(
                consumer = name,
                "a consumer that is not in the plan; if nobody reads it any more, events pile up: take it out with --remove-consumer"
            );
        }
        self.unplanned = unplanned;
        self.figures.show(report);
    }

    /// Until there is a reason to look again.
    async fn wait(&mut self, pause: Duration) {
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                turn = self.connection.turns.changed() => {
                    if turn.is_err() {
                        // The client is gone, which ends with the process only.
                        tokio::time::sleep_until(until).await;
                    }
                    self.flag.not_ready("the broker was away, its streams are looked at again");
                    return;
                }
                changed = self.file.changed() => match changed {
                    Ok(plan) => {
                        tracing::info!("the plan has changed");
                        self.candidate = Some(plan);
                        return;
                    }
                    Err(error) => {
                        self.candidate = None;
                        reject(&error.lines());
                    }
                }
            }
        }
    }
}

fn tell_changes(report: &Report) {
    for what in &report.created {
        tracing::info!(what, "created");
    }
    for update in &report.updated {
        tracing::info!(
            what = update.what,
            changed = update.fields.join(", "),
            "updated"
        );
    }
}

fn reject(problems: &[String]) {
    for problem in problems {
        tracing::error!(
            problem,
            "the changed plan is rejected; the one before stays in force"
        );
    }
    Figures::rejected(true);
}

/// Says nothing about the plan.
fn is_passing(error: &SetupError) -> bool {
    matches!(
        error,
        SetupError::NoAnswer { .. } | SetupError::Awaited { .. }
    )
}
