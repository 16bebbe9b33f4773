//! `fieldgate health`: whether the device does its work. The gate of an update asks the same.

mod boot;
mod check;
mod cluster;
mod expected;
mod figures;
mod judge;
mod known;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

pub(crate) use boot::Boot;
pub(crate) use check::{Check, Report};
pub(crate) use known::Known;

use crate::http::Http;
use crate::install::say;
use crate::secrets::Kubectl;
use crate::update::State;
use cluster::Cluster;
use expected::Expected;
use figures::Figures;

/// k3s's folder of manifests.
pub(crate) const MANIFESTS: &str = "/var/lib/rancher/k3s/server/manifests";
const LIST: Duration = Duration::from_secs(90);
/// Between two examinations, at least; a slow processor gets twice the time of an examination.
const PAUSE: Duration = Duration::from_secs(5);

/// Says whether the device does its work, and if not, why and what to do
///
/// Exit status: 0 healthy; 1 not.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Wait so long until it is healthy
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    wait: Option<Duration>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Compare with what worked before the last update: events from every module that sent some, the hub if it was reached; what was not
    /// ready before does not count
    #[arg(long)]
    since_known: bool,

    #[command(flatten)]
    target: HealthTarget,
}

/// Where the cluster and its manifests are.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthTarget {
    /// The folder that k3s applies; what the cluster runs must be what it says
    #[arg(long, value_name = "DIR", default_value = MANIFESTS)]
    manifests: PathBuf,

    /// How kubectl is called [default: k3s's own, else that in PATH]
    #[arg(long, value_name = "COMMAND")]
    kubectl: Option<String>,

    /// Another kubeconfig for kubectl
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The device's file tree, if it is not this machine's
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
}

impl HealthTarget {
    /// That of the device itself.
    pub(crate) fn of(root: &Path) -> Self {
        Self {
            manifests: PathBuf::from(MANIFESTS),
            kubectl: None,
            kubeconfig: None,
            root: root.to_owned(),
        }
    }
}

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) time: OffsetDateTime,
    pub(crate) boot: Boot,
    pub(crate) cluster: Cluster,
    pub(crate) expected: Vec<Expected>,
    pub(crate) figures: BTreeMap<String, Figures>,
}

/// `fieldgate health`
pub(crate) async fn run(args: HealthArgs) -> Result<ExitCode> {
    let known = if args.since_known {
        State::load(&args.target.root)?.known().cloned()
    } else {
        None
    };
    if args.since_known && known.is_none() {
        eprintln!("nothing is known of before an update; only what must always work is looked at");
    }
    let mut waiting = Waiting::default();
    let report = wait(
        &args.target,
        known.as_ref(),
        args.wait.unwrap_or_default(),
        &mut |report| {
            if let Some(line) = waiting.changed(report) {
                eprintln!("{line}");
            }
        },
    )
    .await;
    if args.json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        for line in report.lines() {
            say(&line);
        }
    }
    Ok(if report.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Examines again and again until the device is healthy or the time is over; `seen` gets every report that is not the last.
pub(crate) async fn wait(
    target: &HealthTarget,
    known: Option<&Known>,
    limit: Duration,
    seen: &mut (dyn FnMut(&Report) + Send),
) -> Report {
    let end = Instant::now() + limit;
    loop {
        let began = Instant::now();
        let report = examine(target, known).await;
        if report.healthy || Instant::now() >= end {
            return report;
        }
        seen(&report);
        let pause = PAUSE.max(began.elapsed() * 2);
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

/// Looks at everything once.
pub(crate) async fn examine(target: &HealthTarget, known: Option<&Known>) -> Report {
    match observe(target).await {
        Ok(observation) => judge::judge(&observation, known),
        Err(error) => Report::new(vec![Check::failed(
            "k3s",
            format!("{error:#}"),
            "systemctl status k3s; journalctl -u k3s",
        )]),
    }
}

/// Asks the cluster and its modules.
pub(crate) async fn observe(target: &HealthTarget) -> Result<Observation> {
    let time = OffsetDateTime::now_utc();
    let boot = Boot::read(&target.root, time)?;
    let kubectl = Kubectl::new(target.kubectl.as_deref(), target.kubeconfig.as_deref())?;
    let question = [
        "get",
        "nodes,deployments,statefulsets,pods",
        "--all-namespaces",
        "--output",
        "json",
        "--request-timeout",
        "60s",
    ];
    let text = kubectl.run_for(&question, LIST).await.map_err(|error| {
        anyhow!(
            "its API server does not answer: {}",
            without_command(&error)
        )
    })?;
    let cluster = Cluster::parse(&text)?;
    let relative = target.manifests.strip_prefix("/");
    let folder = target.root.join(relative.unwrap_or(&target.manifests));
    let figures = figures::read(&cluster, &boot, &kubectl, &Http::new(), time).await;
    Ok(Observation {
        time,
        boot,
        cluster,
        expected: expected::read(&folder),
        figures,
    })
}

/// What kubectl said, without the question, which is always the same and long.
fn without_command(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    match text.split_once("`: ") {
        Some((_, said)) => said.to_owned(),
        None => text,
    }
}

/// Tells what is waited for, whenever that changes.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    told: Vec<String>,
}

impl Waiting {
    pub(crate) fn changed(&mut self, report: &Report) -> Option<String> {
        let failures = report.failures();
        if failures == self.told {
            return None;
        }
        self.told = failures;
        Some(format!("waiting for {}", self.told.join("; ")))
    }
}
