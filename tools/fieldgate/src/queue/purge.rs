//! `fieldgate queue purge`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use queue_inspection::{Answer, Command, Plan, Purged, Selection, purge};
use store_forward::{Files, Held, LAYOUT, OpenError, Queue, QueueOptions, WhenFull};
use tokio::runtime::Runtime;

use super::owner::{AsOwner, person};
use super::place::Place;
use super::source::{Source, one, unexpected};
use super::{PurgeArgs, shown};
use crate::confirm::confirm;
use crate::install::say;
use crate::size::size;

/// A bound that a file of any module is below.
const BOUND: u64 = 256 << 30;

pub(super) fn run(runtime: &Runtime, args: &PurgeArgs) -> Result<()> {
    let place = args.place.find();
    let files = place.files()?;
    may_be_written(&place, &files)?;
    let selection = args.filter.selection(None);
    let source = runtime.block_on(Source::find(&args.place, &place, &files))?;
    if let (Source::Copy(_), held @ (Held::Yes | Held::Unknown(_))) = (&source, &files.held) {
        bail!("{}", in_use(&place, held));
    }
    let plan = runtime.block_on(source.plan(&selection))?;
    // A copy is not needed while a person thinks.
    let module = matches!(source, Source::Module(_));
    drop(source);
    for line in lines(&plan) {
        say(&line);
    }
    if plan.events == 0 {
        return Ok(());
    }
    if !args.yes {
        say("They are never sent then. `fieldgate queue export` keeps a copy.");
        confirm(
            &plan.events.to_string(),
            "Take these events out of the queue?",
        )?;
    }
    let selection = Selection {
        until: Some(plan.until),
        ..selection
    };
    let purged = if module {
        runtime.block_on(by_module(&place.path, selection))?
    } else {
        runtime.block_on(in_file(&place, &selection))?
    };
    let mut line = format!("{} events were taken out", purged.events);
    let rest = plan.events.saturating_sub(purged.events);
    if rest > 0 {
        line.push_str(&format!(
            "; {rest} were sent, dropped or expired in the meantime"
        ));
    }
    say(&line);
    Ok(())
}

/// Whether this release may change the file.
fn may_be_written(place: &Place, files: &Files) -> Result<()> {
    let path = place.path.display();
    let name = place.path.file_name().unwrap_or_default();
    if name.to_string_lossy().contains(".damaged-") {
        bail!("{path} was set aside, no module reads it: delete the file instead");
    }
    match files.layout {
        Some(LAYOUT) | None => Ok(()),
        Some(other) => bail!(
            "queue {path}: the file has schema version {other}, this `fieldgate` writes {LAYOUT}; use that of the module's release, or let a module of this release open it once"
        ),
    }
}

fn in_use(place: &Place, held: &Held) -> String {
    let path = place.path.display();
    match held {
        Held::Unknown(reason) => {
            format!("whether somebody has the queue {path} open cannot be told: {reason}")
        }
        _ => format!(
            "the queue {path} is open in a process that does not answer, and nothing is taken out behind its back: stop it ({}), and purge again",
            place.stop()
        ),
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    let (Some(oldest), Some(newest)) = (&plan.oldest, &plan.newest) else {
        return vec!["No event in the queue is meant; nothing was done.".to_owned()];
    };
    let list = |counts: Vec<String>| counts.join(", ");
    let priorities = plan
        .priorities
        .iter()
        .rev()
        .map(|(priority, events)| format!("{priority} ({events})"));
    let routes = plan
        .routes
        .iter()
        .map(|(route, events)| format!("{} ({events})", shown(route)));
    vec![
        format!("events      {}, {}", plan.events, size(plan.bytes)),
        format!("oldest      {oldest}"),
        format!("newest      {newest}"),
        format!("priorities  {}", list(priorities.collect())),
        format!("routes      {}", list(routes.collect())),
    ]
}

async fn by_module(path: &Path, selection: Selection) -> Result<Purged> {
    let by = person();
    match one(path, Command::Purge { selection, by }).await? {
        Answer::Purged(purged) => Ok(purged),
        other => unexpected(&other),
    }
}

/// Opens the queue itself. Whatever a module would do at its opening, such as setting damage aside, is done now.
async fn in_file(place: &Place, selection: &Selection) -> Result<Purged> {
    let _owner = AsOwner::of(&place.path)?;
    let options = QueueOptions::new(&place.path, BOUND, WhenFull::Reject);
    let opened = tokio::task::spawn_blocking(move || Queue::open(options))
        .await
        .context("opening the queue")?;
    let queue = match opened {
        Err(OpenError::InUse { .. }) => bail!(
            "a process has opened the queue {} in the meantime; purge again, it does it itself then",
            place.path.display()
        ),
        opened => opened?,
    };
    if let Some(error) = queue.stats().last_error {
        eprintln!("the queue was not sound: {error}");
    }
    let purged = purge(&queue, selection).await;
    let closed = queue.close().await;
    let purged = purged.map_err(anyhow::Error::msg)?;
    closed.context("closing the queue's file")?;
    Ok(purged)
}
