//! `fieldgate install` and `fieldgate uninstall`: everything onto a machine that has k3s, and off again.

mod apply;
mod bundle;
mod imported;
mod item;
mod machine;
mod manifests;
mod outline;
mod places;
mod plan;
mod record;
mod uninstall;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::secrets::{Kubectl, Target};
use crate::whole_file;
use bundle::{Architecture, Bundle};
use item::{Part, State};
use manifests::{Generate, OwnCommand};
use places::{KEPT, PLUGIN_UNIT, Places, STATE};
use plan::{Plan, Wishes};
use record::Record;

pub(crate) use machine::find_program;
pub(crate) use outline::{Outline, namespace as default_namespace};
pub(crate) use places::{APPLIANCE, VOLUMES};
pub(crate) use uninstall::{UninstallArgs, run as uninstall};

const DATA_DIR: &str = "/var/lib/rancher/k3s";
/// From the restart of k3s to a node that is ready: first start on a slow machine included.
const NODE: Duration = Duration::from_secs(600);

/// Puts Fieldgate onto a machine that has k3s. May be repeated; changes only what differs.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The folder with images, manifests and programs
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,

    /// The appliance description [default: /etc/fieldgate/appliance.yaml]
    #[arg(long, value_name = "FILE")]
    appliance: Option<PathBuf>,

    #[command(flatten)]
    device: Device,

    /// For another processor than this machine's; only with --root
    #[arg(long, requires = "root")]
    arch: Option<Architecture>,

    /// Leave this file as it is (path on the device); may be repeated
    #[arg(long, value_name = "FILE")]
    keep: Vec<PathBuf>,

    /// Link the image archives from the bundle instead of copying them; the bundle must stay where it is
    #[arg(long)]
    link_images: bool,

    /// Do not make the Secrets
    #[arg(long)]
    no_secrets: bool,

    /// This machine is an agent of k3s (docs/operate/three-nodes.md): images, settings, serial ports and its volumes, no manifests
    #[arg(long)]
    agent: bool,

    /// This machine's name among the nodes [default: its host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// Which device, and how it is reached.
#[derive(Debug, Args)]
pub(crate) struct Device {
    /// A file system to prepare instead of this machine's: files only, no services
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// The folder where k3s keeps its state, on the device
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// How kubectl is called [default: k3s's own, else that in PATH]
    #[arg(long, value_name = "COMMAND")]
    kubectl: Option<String>,

    /// Another kubeconfig for kubectl
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// `fieldgate install`
pub(crate) async fn run(args: InstallArgs) -> Result<()> {
    if args.device.root.is_none() {
        machine::check_k3s().await?;
        if !args.device.dry_run {
            machine::need_root()?;
        }
    }
    let places = Places::new(args.device.root.as_deref(), &args.device.data_dir)?;
    let appliance = match &args.appliance {
        Some(path) => path.clone(),
        None => places.here(Path::new(APPLIANCE)),
    };
    let done = files(&args, &places, &appliance, &OwnCommand, &mut say)?;
    if args.device.root.is_some() {
        return Ok(());
    }
    if args.device.dry_run {
        for (name, restarts) in [
            (machine::k3s_unit(args.agent), done.k3s),
            (PLUGIN_UNIT, done.plugin),
        ] {
            if restarts {
                say(&format!("would restart {name}"));
            }
        }
        return Ok(());
    }
    services(&args, &done, &appliance).await
}

/// A line for the person at the terminal; that nobody reads it is no reason to stop half-way.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What the file part changed.
#[derive(Debug, Default)]
struct Done {
    k3s: bool,
    plugin: bool,
}

/// Everything that is files; `tell` gets a line for each change.
fn files(
    args: &InstallArgs,
    places: &Places,
    appliance: &Path,
    generator: &dyn Generate,
    tell: &mut dyn FnMut(&str),
) -> Result<Done> {
    let architecture = match args.arch {
        Some(architecture) => architecture,
        None => Architecture::here()?,
    };
    let bundle = Bundle::open(&args.bundle, architecture)?;
    let outline = Outline::load(appliance)?;
    let mut record = Record::load(places)?;
    let wishes = Wishes {
        keep: &args.keep,
        link_images: args.link_images,
        agent: args.agent,
    };
    if !record.files.is_empty() && record.agent != args.agent {
        bail!(
            "this machine was installed {}; take that off first (`fieldgate uninstall`)",
            if record.agent {
                "as an agent, and --agent is missing"
            } else {
                "as a server, not as an agent"
            }
        );
    }
    record.agent = args.agent;
    let plan = Plan::make(places, &bundle, &outline, &record, wishes)?;
    plan.refuse_foreign()?;
    if args.device.root.is_none() {
        machine::check_space(places.data_dir(), plan.new_images()?)?;
    }
    let done = Done {
        k3s: plan.changes(Part::K3s),
        plugin: plan.changes(Part::Plugin),
    };
    if args.device.dry_run {
        dry_run(args, places, &plan, appliance, generator, tell)?;
        return Ok(done);
    }
    apply::apply(places, &plan, &mut record, tell)?;
    imported::forget_changed(places, tell)?;
    let node = node_name(args)?;
    let node = node.as_deref();
    if args.agent {
        volumes_of_agent(places, appliance, generator, node, &mut record, tell)?;
    } else {
        generate(places, appliance, generator, node, &mut record, tell)?;
    }
    Ok(done)
}

fn dry_run(
    args: &InstallArgs,
    places: &Places,
    plan: &Plan,
    appliance: &Path,
    generator: &dyn Generate,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    for step in plan.steps.iter().filter(|step| step.state != State::Same) {
        tell(&format!("would write {}", step.item.path.display()));
    }
    for path in &plan.superseded {
        tell(&format!("would remove {}", path.display()));
    }
    let output = places.here(&places.manifests());
    if args.agent {
        return Ok(());
    }
    if output.is_dir() {
        generator.generate(appliance, &output, true)?;
    } else {
        tell(&format!(
            "would write the manifests of {} into {}",
            appliance.display(),
            places.manifests().display()
        ));
    }
    Ok(())
}

/// The manifests of the description, and the folders of the volumes they name.
fn generate(
    places: &Places,
    appliance: &Path,
    generator: &dyn Generate,
    node: Option<&str>,
    record: &mut Record,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    // What comes back was ours before, too.
    let before: BTreeSet<String> = manifests::names(places)?;
    restore_kept(places, tell)?;
    let written = generator.generate(appliance, &places.here(&places.manifests()), false);
    // Also of an attempt that failed half-way: what is there now has to be found again.
    record.generated = manifests::generated(places, &before, &record.generated)?;
    record.save(places)?;
    written?;
    let folder = places.here(&places.manifests());
    let volumes = manifests::volumes(&folder, &record.generated, node)?;
    make_folders(places, &volumes, record, tell)
}

/// The folders of this node's volumes; the manifests that name them are the server's, and are not kept here.
fn volumes_of_agent(
    places: &Places,
    appliance: &Path,
    generator: &dyn Generate,
    node: Option<&str>,
    record: &mut Record,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    let folder = places.here(Path::new(STATE)).join("manifests");
    let context = || format!("the folder {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(context)?;
    }
    fs::create_dir(&folder).with_context(context)?;
    generator.generate(appliance, &folder, false)?;
    let volumes = manifests::volumes(&folder, &manifests::names_in(&folder)?, node)?;
    fs::remove_dir_all(&folder).with_context(context)?;
    make_folders(places, &volumes, record, tell)
}

fn make_folders(
    places: &Places,
    volumes: &BTreeSet<PathBuf>,
    record: &mut Record,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    for path in volumes {
        if apply::volume(places, path, record)? {
            tell(&format!("made the folder {}", path.display()));
        }
    }
    record.save(places)
}

/// Below another root nobody knows the name yet, unless it is given.
fn node_name(args: &InstallArgs) -> Result<Option<String>> {
    match &args.node {
        Some(node) => Ok(Some(node.clone())),
        None if args.device.root.is_some() => Ok(None),
        None => machine::host_name().map(Some),
    }
}

/// Overrides and configurations of an earlier installation come back before the generator looks for them.
fn restore_kept(places: &Places, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let kept = places.here(Path::new(KEPT));
    if !kept.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&kept).with_context(|| format!("reading {}", kept.display()))? {
        let from = entry
            .with_context(|| format!("reading {}", kept.display()))?
            .path();
        let Some(name) = from.file_name() else {
            continue;
        };
        let to = places.manifests().join(name);
        if !places.here(&to).exists() {
            whole_file::copy(&from, &places.here(&to), 0o600)?;
            tell(&format!("restored {}", to.display()));
        }
        fs::remove_file(&from).with_context(|| format!("removing {}", from.display()))?;
    }
    fs::remove_dir(&kept).with_context(|| format!("removing {}", kept.display()))
}

async fn services(args: &InstallArgs, done: &Done, appliance: &Path) -> Result<()> {
    let name = match &args.node {
        Some(node) => node.clone(),
        None => machine::host_name()?,
    };
    start_services(machine::k3s_unit(args.agent), done).await?;

    if args.agent {
        say(&format!(
            "on the server, when `kubectl get nodes` shows it as Ready: kubectl label node {name} fieldgate.io/storage=true --overwrite"
        ));
        return Ok(());
    }
    let kubectl = Kubectl::new(
        args.device.kubectl.as_deref(),
        args.device.kubeconfig.as_deref(),
    )?;
    let node = format!("kubernetes.io/hostname={name}");
    let ready = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    say("waiting for the node");
    kubectl
        .wait_for_text(
            &["get", "nodes", "--selector", &node, "--output", ready],
            "True",
            "the node of this machine was not ready",
            NODE,
        )
        .await?;
    // Left when k3s ran for some seconds only before its cloud controller, which takes it away, was switched off. Nothing would be scheduled.
    let uninitialized = "node.cloudprovider.kubernetes.io/uninitialized-";
    let _ = kubectl
        .run(&["taint", "nodes", "--selector", &node, uninitialized])
        .await;
    // k3s sets its node-label at the node's first registration only.
    kubectl
        .run(&[
            "label",
            "nodes",
            "--selector",
            &node,
            "fieldgate.io/storage=true",
            "--overwrite",
        ])
        .await?;
    if args.no_secrets {
        return Ok(());
    }
    let target = Target {
        appliance: appliance.to_owned(),
        modules: None,
        namespace: None,
        kubectl: args.device.kubectl.clone(),
        kubeconfig: args.device.kubeconfig.clone(),
        no_restart: false,
    };
    crate::secrets::make(&target, &[], true).await?;
    if Outline::load(appliance)?.has("iothub-module") {
        say(
            "iothub-module needs its connection string: fieldgate secrets iothub --connection-string-file FILE",
        );
    }
    Ok(())
}

/// Restarts and starts what the files are for.
async fn start_services(k3s: &str, done: &Done) -> Result<()> {
    if !machine::has_systemd() {
        if done.k3s {
            bail!(
                "the settings of k3s are new, and this machine has no systemd: restart {k3s} in its own way, then run this command again"
            );
        }
        say(&format!(
            "this machine has no systemd: have its service manager run what {PLUGIN_UNIT} in /etc/systemd/system describes"
        ));
        return Ok(());
    }
    machine::systemctl(&["daemon-reload"]).await?;
    if done.k3s {
        say(&format!("restarting {k3s}"));
        machine::systemctl(&["restart", k3s]).await?;
    }
    machine::systemctl(&["enable", PLUGIN_UNIT]).await?;
    let verb = if done.plugin { "restart" } else { "start" };
    machine::systemctl(&[verb, PLUGIN_UNIT]).await
}

#[cfg(test)]
mod tests;
