//! `fieldgate secrets`: makes the appliance's Secrets on the device. No value ever stands on a command line, in a log or in a file.

mod hub;
mod keys;
mod kubectl;
mod list;
mod mtls;
mod objects;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use kubectl::Kubectl;

use crate::install::{APPLIANCE, Outline, default_namespace, say};
use objects::{Changes, Existing, plan};

/// How long a namespace may take to appear after an installation: k3s applies manifests one after the other.
const NAMESPACE: Duration = Duration::from_secs(300);
const ROLLOUT: &str = "180s";

/// Makes the keys of modules and broker that are missing; existing ones stay.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct SecretsArgs {
    #[command(flatten)]
    target: Target,

    /// Make a new key for this module (or `setup`, the broker's own set-up, or `routes`, of several brokers among themselves); may be repeated
    #[arg(long, value_name = "MODULE")]
    rotate: Vec<String>,

    /// Wait for the namespace, right after an installation
    #[arg(long)]
    wait: bool,

    #[command(subcommand)]
    command: Option<SecretsCommand>,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Sets the connection string of IoT Hub
    Iothub(hub::HubArgs),
    /// Shows which Secrets there are, since when, and which are missing; never a value
    List,
    /// Makes a new certification authority for Dapr's mTLS, which lasts a year, and restarts everything in order
    RenewMtls(mtls::RenewArgs),
}

/// Which appliance, and how its cluster is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The appliance description: its modules and namespace
    #[arg(long, global = true, value_name = "FILE", default_value = APPLIANCE)]
    pub(crate) appliance: PathBuf,

    /// The modules, instead of those of the description
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) modules: Option<Vec<String>>,

    /// The namespace, instead of the description's
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// How kubectl is called [default: k3s's own, else that in PATH]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(crate) kubectl: Option<String>,

    /// Another kubeconfig for kubectl
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Restart nothing that uses a changed Secret
    #[arg(long, global = true)]
    pub(crate) no_restart: bool,
}

impl Target {
    pub(crate) fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(self.kubectl.as_deref(), self.kubeconfig.as_deref())
    }

    /// Namespace and modules; the description is read only where an option does not replace it.
    fn appliance(&self) -> Result<(String, Vec<String>)> {
        if let (Some(modules), namespace) = (&self.modules, &self.namespace) {
            let namespace = namespace.clone().unwrap_or_else(default_namespace);
            return Ok((namespace, modules.clone()));
        }
        let outline = Outline::load(&self.appliance)?;
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| outline.namespace.clone());
        Ok((namespace, outline.modules()))
    }

    /// The namespace alone.
    fn namespace(&self) -> Result<String> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.clone()),
            None if self.modules.is_some() => Ok(default_namespace()),
            None => Ok(Outline::load(&self.appliance)?.namespace),
        }
    }
}

/// `fieldgate secrets …`
pub(crate) async fn run(args: SecretsArgs) -> Result<()> {
    let target = &args.target;
    if args.command.is_some() && !args.rotate.is_empty() {
        bail!("--rotate goes with `fieldgate secrets` alone, not with one of its commands");
    }
    match args.command {
        None => make(target, &args.rotate, args.wait).await,
        Some(SecretsCommand::Iothub(hub)) => hub::run(target, &hub).await,
        Some(SecretsCommand::List) => list::run(target).await,
        Some(SecretsCommand::RenewMtls(renew)) => mtls::renew(target, &renew).await,
    }
}

/// Makes what is missing, rotates what is asked for.
pub(crate) async fn make(target: &Target, rotate: &[String], wait: bool) -> Result<()> {
    let (namespace, modules) = target.appliance()?;
    objects::check_names(&modules)?;
    let kubectl = target.kubectl()?;
    need_namespace(&kubectl, &namespace, wait).await?;

    let mut existing = Existing::new();
    for name in objects::names(&modules) {
        if let Some(object) = kubectl.get(&namespace, "secret", &name).await? {
            existing.insert(name, objects::data(&object)?);
        }
    }
    let changes = plan(&existing, &modules, rotate)?;
    if changes.secrets.is_empty() {
        say(&format!("nothing to do: every key of {namespace} is there"));
        return Ok(());
    }
    let now = now()?;
    // A module's seed first: whoever sees the broker know a key finds its seed.
    for broker in [false, true] {
        for (name, data) in &changes.secrets {
            if (name == objects::BROKER_KEYS) == broker {
                kubectl
                    .apply(&objects::secret(&namespace, name, data, &now))
                    .await?;
                say(&format!("wrote Secret {namespace}/{name}"));
            }
        }
    }
    if target.no_restart || rotate.is_empty() {
        // New keys reach the broker with the configuration that names their users.
        return Ok(());
    }
    restart_after(&kubectl, &namespace, &changes).await
}

/// The broker first: until it knows the new key, the module could not connect with it.
async fn restart_after(kubectl: &Kubectl, namespace: &str, changes: &Changes) -> Result<()> {
    if changes.broker {
        restart(kubectl, namespace, "statefulset/broker").await?;
    }
    for module in &changes.modules {
        restart(kubectl, namespace, &format!("deployment/{module}")).await?;
    }
    Ok(())
}

/// Restarts a workload and waits until it is ready again; one that is not there has nothing to restart.
async fn restart(kubectl: &Kubectl, namespace: &str, workload: &str) -> Result<()> {
    let found = kubectl
        .run(&[
            "--namespace",
            namespace,
            "get",
            workload,
            "--ignore-not-found",
            "--output",
            "name",
        ])
        .await?;
    if found.trim().is_empty() {
        return Ok(());
    }
    kubectl
        .run(&["--namespace", namespace, "rollout", "restart", workload])
        .await?;
    say(&format!("restarting {namespace}/{workload}"));
    let mut waiting = vec!["--namespace", namespace, "rollout", "status", workload];
    waiting.extend(["--timeout", ROLLOUT]);
    // kubectl's own deadline is the longer one.
    kubectl
        .run_for(&waiting, Duration::from_secs(200))
        .await
        .map(drop)
        .with_context(|| format!("{namespace}/{workload} did not become ready; see its log"))
}

async fn need_namespace(kubectl: &Kubectl, namespace: &str, wait: bool) -> Result<()> {
    let question = [
        "get",
        "namespace",
        namespace,
        "--ignore-not-found",
        "--output",
        "name",
    ];
    let missing = format!("the namespace {namespace} does not exist");
    if wait {
        return kubectl
            .wait_for(
                &question,
                &format!("{missing}: k3s did not make it from its manifests folder"),
                NAMESPACE,
            )
            .await;
    }
    if kubectl.run(&question).await?.trim().is_empty() {
        bail!("{missing}; apply the manifests first, or name another one with --namespace");
    }
    Ok(())
}

fn now() -> Result<String> {
    OffsetDateTime::from(SystemTime::now())
        .replace_nanosecond(0)
        .context("the time")?
        .format(&Rfc3339)
        .context("writing the time")
}
