//! The command line: reads it, and does what it says.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use faulty_disk::queue::{Cuts, Synchronous, Worker, run};

mod control;

/// A file system that forgets what was not synced and fails on command.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mounts a disk and takes commands on standard input, one JSON object a line, until its end
    Mount {
        /// An empty folder
        folder: PathBuf,
        /// A folder whose files are on the disk at first
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Cuts the power under the queue of iothub-module at random moments and checks what is left. The last line on standard
    /// output is the result, one JSON object
    QueuePowerCuts {
        /// How often
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// Repeats the choices of another run
        #[arg(long)]
        seed: Option<u64>,
        /// `off` shows that the check can fail
        #[arg(long, value_enum, default_value_t = Synchronous::Full)]
        synchronous: Synchronous,
        /// Where the files of a queue that was not sound are kept
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
    },
    /// Started by queue-power-cuts
    #[command(hide = true)]
    QueueWorker {
        path: PathBuf,
        #[arg(long)]
        first: u64,
        #[arg(long, value_enum)]
        synchronous: Synchronous,
    },
}

fn main() -> ExitCode {
    match command(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faulty-disk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Mount { folder, from } => control::serve(&folder, from.as_deref())?,
        Command::QueueWorker {
            path,
            first,
            synchronous,
        } => Worker {
            path,
            first,
            synchronous,
        }
        .run()?,
        Command::QueuePowerCuts {
            count,
            seed,
            synchronous,
            keep,
        } => {
            let cuts = Cuts {
                count,
                seed: seed.unwrap_or_else(any_seed),
                synchronous,
                program: std::env::current_exe()?,
                keep,
            };
            let summary = run(&cuts, |line| eprintln!("{line}"))?;
            println!("{}", serde_json::to_string(&summary)?);
            if !summary.is_sound() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Short enough to be typed again.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.subsec_nanos().into()) % 1_000_000
}
