//! `fieldgate agent`: what the module device-agent may ask of its host.
//!
//! systemd starts it for each connection to the agent's socket, and it ends with its answer: nothing runs while nobody asks. What takes long
//! goes on in a unit of its own ([`unit`]); what is known of it is in files ([`record`]).

mod carry_out;
mod commands;
mod own;
mod record;
mod unit;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent_protocol::{Answer, Code, Command, Fault, MAX_REQUEST};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use commands::Host;

/// A whole request must be there within this time.
const READING: Duration = Duration::from_secs(10);

/// Answers one request of the device agent, read from standard input: a JSON object up to its end
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The device's file tree, if it is not this machine's
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    #[command(subcommand)]
    command: Option<AgentCommand>,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Carries out the update that was asked for; in a unit of its own
    #[command(hide = true)]
    CarryOut,
}

pub(crate) async fn run(args: AgentArgs) -> Result<ExitCode> {
    if let Some(AgentCommand::CarryOut) = args.command {
        return carry_out::run(&args.root).await;
    }
    let result = match request() {
        Ok(command) => {
            let result = Host::new(&args.root).answer(&command).await;
            log(&command, &result);
            result
        }
        Err(fault) => {
            eprintln!("refused: {fault}");
            Err(fault)
        }
    };
    let mut answer = serde_json::to_vec(&Answer::from(result)).context("writing the answer")?;
    answer.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&answer).context("the answer")?;
    out.flush().context("the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn request() -> Result<Command, Fault> {
    let unread = |error: io::Error| {
        let late = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        if late {
            let seconds = READING.as_secs();
            Fault::new(
                Code::Deadline,
                format!("the request was not there within {seconds} s"),
            )
        } else {
            Fault::new(Code::InvalidInput, format!("reading the request: {error}"))
        }
    };
    let input = io::stdin();
    // Of a socket; a pipe or a file has no such setting and needs none.
    if let Ok(copy) = input.as_fd().try_clone_to_owned() {
        let _ = UnixStream::from(copy).set_read_timeout(Some(READING));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    input
        .lock()
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    Command::parse(&bytes)
}

/// For the journal. Questions are asked all day, and leave no line.
fn log(command: &Command, result: &Result<Value, Fault>) {
    match (command, result) {
        (_, Err(fault)) => eprintln!("{}: {fault}", command.name()),
        (Command::Health | Command::UpdateStatus, Ok(_)) => {}
        (_, Ok(_)) => eprintln!("{} was asked for", command.name()),
    }
}
