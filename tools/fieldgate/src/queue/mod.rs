//! `fieldgate queue`: looks into the queue of events that wait for the hub, and takes events out of it.
//!
//! A module that has the queue open is asked at the socket beside its file; otherwise a copy of the file is looked at. So nothing here
//! changes a queue but a purge.

mod export;
mod list;
mod owner;
mod place;
mod purge;
mod scratch;
mod source;
mod status;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use queue_inspection::Selection;

use place::QueuePlace;

/// Looks into the queue of events that wait for the hub, and takes events out of it
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    Status(StatusArgs),
    List(ListArgs),
    Export(ExportArgs),
    Purge(PurgeArgs),
}

/// Says what is in the queue, how old it is, what it takes of the disk, and what was dropped
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    place: QueuePlace,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the events in the queue, a line each, in the order of their numbers
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: QueuePlace,

    #[command(flatten)]
    filter: Filter,

    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Writes the events in the queue as they were taken in, one JSON object a line; nothing is removed
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    place: QueuePlace,

    #[command(flatten)]
    filter: Filter,

    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,

    /// Into this file, which is there when all of it is written; otherwise to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,

    /// Put each event as `event` into an object with its number, time, priority, route, key and id
    #[arg(long)]
    numbered: bool,
}

/// Takes events out of the queue for good, after it was said which and the number of them was typed
///
/// What comes in meanwhile stays. The events are counted as dropped, with the reason `purged`. A module that has the queue open does it
/// itself; what it has on the way to the hub may still arrive.
#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    place: QueuePlace,

    #[command(flatten)]
    filter: Filter,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Which events are meant; all of them without.
#[derive(Debug, Args)]
struct Filter {
    /// Those of a priority, 0 to 9
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,

    /// Those that came by a route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,

    /// Those with a partition key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Those from a number on
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
}

impl Filter {
    fn selection(&self, limit: Option<u64>) -> Selection {
        Selection {
            priority: self.priority,
            route: self.route.clone(),
            key: self.key.clone(),
            from: self.from,
            until: None,
            limit,
        }
    }
}

pub(crate) fn run(command: &QueueCommand) -> Result<ExitCode> {
    let runtime = crate::runtime()?;
    match command {
        QueueCommand::Status(args) => runtime.block_on(or_stop(status::run(args)))?,
        QueueCommand::List(args) => runtime.block_on(or_stop(list::run(args)))?,
        QueueCommand::Export(args) => runtime.block_on(or_stop(export::run(args)))?,
        // A signal at the question ends it where it is.
        QueueCommand::Purge(args) => purge::run(&runtime, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the work at a signal, so that no copy of the queue's file is left.
async fn or_stop(work: impl Future<Output = Result<()>>) -> Result<()> {
    let signals = crate::signals::Signals::listen()?;
    tokio::select! {
        done = work => done,
        () = signals.stop.cancelled() => bail!("interrupted"),
    }
}

/// A text from outside as it may be shown on a terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_cannot_steer_the_terminal() {
        assert_eq!(super::shown("ä b\u{1b}[2J\n"), "ä b\\u{1b}[2J\\n");
    }
}
