//! `fieldgate provision`: what a device is told before its first work.

mod ask;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use provisioning::{
    ERRORS, FILE, Outcome, ProvisionError, Provisioned, Status, provision, provision_schema,
    provision_typed_in, search, superseded_by,
};
use time::OffsetDateTime;

use crate::install::say;

/// The document does not hold: what modules end with on an invalid configuration.
const INVALID: u8 = 78;

/// Applies a provisioning file: name, network, time, hub, SSH keys and modules of a device
///
/// On a terminal and without options it asks for the most needed. Exit status: 0 applied, or nothing to do; 78 the document does not hold,
/// and nothing was done; 1 anything else.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").multiple(false)))]
pub(crate) struct ProvisionArgs {
    /// Say what is wrong with a document, and do nothing
    #[arg(long, value_name = "FILE", group = "what")]
    check: Option<PathBuf>,

    /// Apply a document, and wipe its secrets from the medium
    #[arg(long, value_name = "FILE", group = "what")]
    apply: Option<PathBuf>,

    /// Apply the first fieldgate-provision.yaml in these folders or right below them; none is no failure. One on the device's boot partition
    /// is left alone when another was applied since and nobody has changed it
    #[arg(long, value_name = "DIR", num_args = 1.., group = "what")]
    search: Vec<PathBuf>,

    /// Show what the last document did
    #[arg(long, group = "what")]
    status: bool,

    /// Print the JSON Schema of the document
    #[arg(long, group = "what")]
    print_schema: bool,

    /// The device's file tree, if it is not this machine's
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

pub(crate) fn run(args: &ProvisionArgs) -> Result<ExitCode> {
    let root = &args.root;
    if let Some(file) = args.check.as_ref().or(args.apply.as_ref())
        && !file.is_file()
    {
        bail!(
            "there is no file {}; give the path of {FILE}",
            file.display()
        );
    }
    if let Some(file) = &args.check {
        return Ok(check(file));
    }
    if let Some(file) = &args.apply {
        return Ok(apply(file, root));
    }
    if !args.search.is_empty() {
        return Ok(match search(&args.search) {
            Some(file) => {
                say(&format!("found {}", file.display()));
                match superseded_by(&file, root)
                    .with_context(|| format!("whether {} is new", file.display()))?
                {
                    Some(source) => {
                        say(&format!(
                            "nothing to do: it was taken over before and nobody has changed it since; in force is the later one from {source}"
                        ));
                        ExitCode::SUCCESS
                    }
                    None => apply(&file, root),
                }
            }
            None => {
                say(&format!(
                    "no {FILE} in {}; the device goes on as it is",
                    list(&args.search)
                ));
                ExitCode::SUCCESS
            }
        });
    }
    if args.status {
        return status(root).map(|()| ExitCode::SUCCESS);
    }
    if args.print_schema {
        say(&serde_json::to_string_pretty(&provision_schema()?)?);
        return Ok(ExitCode::SUCCESS);
    }
    if !std::io::stdin().is_terminal() {
        bail!(
            "say what to do: --check FILE, --apply FILE, --search DIR or --status; on a terminal it asks"
        );
    }
    typed_in(root)
}

/// Away from the device nobody knows what it has taken over.
fn check(file: &Path) -> ExitCode {
    match provisioning::load(file, None) {
        Ok(loaded) => {
            say(&format!("{} holds", file.display()));
            for planned in provisioning::plan(&loaded) {
                say(&format!("would write {}", planned.path.display()));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(INVALID)
        }
    }
}

fn apply(file: &Path, root: &Path) -> ExitCode {
    tell(file, provision(file, root, OffsetDateTime::now_utc()))
}

fn tell(file: &Path, done: Result<Provisioned, ProvisionError>) -> ExitCode {
    match done {
        Ok(done) => {
            report(file, &done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            let errors = file.with_file_name(ERRORS);
            if errors.exists() {
                eprintln!("this is in {}, too", errors.display());
            }
            match error {
                ProvisionError::Invalid(_) => ExitCode::from(INVALID),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn report(file: &Path, done: &Provisioned) {
    for (word, paths) in [
        ("wrote", &done.applied.written),
        ("removed", &done.applied.removed),
        ("left as somebody edited it:", &done.applied.edited),
    ] {
        for path in paths {
            say(&format!("{word} {}", path.display()));
        }
    }
    if done.is_wiped {
        say(&format!("wiped the secrets from {}", file.display()));
    }
    if done.applied.is_unchanged() {
        say(&format!(
            "nothing to do: the device is as {} says",
            file.display()
        ));
    }
}

fn status(root: &Path) -> Result<()> {
    let Some(status) = Status::read(root)? else {
        say(&format!(
            "no provisioning file was applied yet: put {FILE} onto a medium, or run fieldgate provision on a terminal"
        ));
        return Ok(());
    };
    say(&format!("{} {}", status.result.as_str(), status.time));
    if let Some(hash) = &status.document_sha256 {
        say(&format!("document {hash}"));
    }
    if let Some(source) = &status.source {
        say(&format!("from {source}"));
    }
    say(&format!("by version {}", status.version));
    for error in &status.errors {
        say(error);
    }
    if let Some(in_force) = &status.in_force
        && status.result != Outcome::Applied
    {
        say(&format!(
            "in force since {} is the document from {}",
            in_force.time, in_force.source
        ));
    }
    Ok(())
}

/// What is typed in never lies on a medium: only in memory, until it is on the device.
fn typed_in(root: &Path) -> Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("fieldgate-provision")
        .tempdir_in(memory())
        .context("making a folder for the answers")?;
    let document = ask::document(&mut ask::Terminal)?;
    let file = folder.path().join(FILE);
    std::fs::write(&file, document).with_context(|| format!("writing {}", file.display()))?;
    let done = provision_typed_in(&file, root, OffsetDateTime::now_utc());
    Ok(tell(&file, done))
}

/// A folder that is in memory, where there is one.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn list(folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    folders.join(", ")
}
