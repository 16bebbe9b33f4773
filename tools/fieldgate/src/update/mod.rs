//! `fieldgate update`: a whole new system into the other slot, tried, and kept or taken back.

mod admit;
mod client;
mod download;
mod error;
mod gate;
mod install;
mod lock;
mod places;
mod progress;
mod rauc;
mod reboot;
mod search;
mod settle;
mod source;
mod state;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use semver::Version;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use state::State;

use crate::install::say;
use admit::Wishes;
use install::{Done, Request, install};
use places::Places;
use progress::Printer;
use source::{Source, parse_sha256};

/// Updates the device as a whole
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The device's file tree, if it is not this machine's
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    #[command(subcommand)]
    command: UpdateCommand,
}

/// Where [`agent`](crate::agent) gives the source to `install`.
pub(crate) const SOURCE_VARIABLE: &str = "FIELDGATE_UPDATE_SOURCE";

#[derive(Debug, Subcommand)]
enum UpdateCommand {
    Install(UpdateInstallArgs),
    /// Keeps the running system if it is healthy in time; else marks it bad and restarts into the other one. Run by the device after an update
    Gate {
        /// How long it may take to become healthy; FIELDGATE_GATE_LIMIT, or 15m, when left out
        #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
        limit: Option<Duration>,
    },
    /// Finds out what became of the last update. Run by the device at every start
    Settle,
    /// Shows slots, versions and what became of the last update
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Installs a bundle into the other slot and restarts into it
///
/// Exit status: 0 installed, or nothing to do; 10 wrong signature; 11 for other hardware; 12 older; 13 wrong SHA-256; 14 not the version of
/// --version; 15 another installation runs; 16 this machine has no slots; 17 not a bundle; 18 none found; 19 no space; 20 download failed;
/// 21 rauc failed; 22 the running system is not confirmed yet; 1 anything else.
#[derive(Debug, Args)]
struct UpdateInstallArgs {
    /// The bundle: a file, or an http or https URL. A URL that holds a key is better kept from the command line, which everybody can read
    #[arg(value_name = "SOURCE", value_parser = Source::parse, required_unless_present = "search", env = SOURCE_VARIABLE, hide_env_values = true)]
    source: Option<Source>,

    /// Take the newest bundle for this device in these folders or right below them
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with = "source")]
    search: Vec<PathBuf>,

    /// What the file must be, as sha256sum prints it
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    sha256: Option<String>,

    /// Which version it must be
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,

    /// Install a version that is older than the running one, too
    #[arg(long)]
    allow_downgrade: bool,

    /// Install the version that runs again
    #[arg(long)]
    reinstall: bool,

    /// Do not restart; the new system comes with the next start
    #[arg(long)]
    no_reboot: bool,
}

/// `fieldgate update …`
pub(crate) async fn run(args: UpdateArgs) -> Result<ExitCode> {
    let places = Places::new(&args.root);
    match args.command {
        UpdateCommand::Install(args) => install_and_restart(&places, args).await,
        UpdateCommand::Gate { limit } => {
            let limit = limit.unwrap_or_else(gate::limit_of_environment);
            gate::run(&places, limit).await
        }
        UpdateCommand::Settle => settle::run(&places).map(|()| ExitCode::SUCCESS),
        UpdateCommand::Status { json } => {
            let status = status::status(&places).await?;
            if json {
                say(&serde_json::to_string_pretty(&status)?);
            } else {
                for line in status.lines() {
                    say(&line);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn install_and_restart(places: &Places, args: UpdateInstallArgs) -> Result<ExitCode> {
    // The terminal may go away meanwhile: the installation goes on, and how it ended is to be recorded.
    let _hangup = signal(SignalKind::hangup())?;
    let request = Request {
        source: args.source.unwrap_or(Source::Search(args.search)),
        sha256: args.sha256,
        wishes: Wishes {
            version: args.version,
            allow_downgrade: args.allow_downgrade,
            reinstall: args.reinstall,
        },
    };
    let mut printer = Printer::new();
    let outcome = install(places, &request, &mut |progress| printer.show(&progress)).await;
    printer.end();
    let done = match outcome {
        Ok(done) => done,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(error.exit_status()));
        }
    };
    match done {
        Done::Same { version } => {
            say(&format!("nothing to do: version {version} runs already"));
            return Ok(ExitCode::SUCCESS);
        }
        Done::Pending { version } => {
            say(&format!("version {version} is installed and starts next"));
        }
        Done::Installed { slot, version } => {
            say(&format!(
                "version {version} is in slot {slot} and starts next"
            ));
        }
    }
    if args.no_reboot {
        say("restart the device when it suits: systemctl reboot");
    } else {
        say("restarting");
        reboot::reboot().await?;
    }
    Ok(ExitCode::SUCCESS)
}
