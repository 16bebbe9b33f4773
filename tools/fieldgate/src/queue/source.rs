//! Who is asked about a queue: the module that has it open, or a copy of its file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use queue_inspection::{
    Answer, AskError, Asker, Command, End, Item, Plan, Selection, Status, Walk,
};
use store_forward::{CopyError, Files, Held, OpenError, Queue, QueueOptions, WhenFull, copy};

use super::place::{Place, QueuePlace};
use super::scratch::Scratch;

/// The least bound of a copy that is opened.
const LEAST_BOUND: u64 = 64 << 20;

#[derive(Debug)]
pub(super) enum Source {
    /// The process that has it open, which answers.
    Module(PathBuf),
    Copy(Copied),
}

/// A copy of a queue's file, opened.
#[derive(Debug)]
pub(super) struct Copied {
    queue: Queue,
    _scratch: Scratch,
}

impl Source {
    pub(super) async fn find(args: &QueuePlace, place: &Place, files: &Files) -> Result<Self> {
        if files.held != Held::No {
            match Asker::ask(&place.path, Command::Status).await {
                Ok(_) => return Ok(Self::Module(place.path.clone())),
                // It may be of a release that does not listen, or hang: its file can be read all the same.
                Err(error @ AskError::Nobody { .. }) if files.held == Held::Yes => {
                    eprintln!("{error}; looking at a copy of the file instead");
                }
                Err(AskError::Nobody { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = files.database_bytes + files.log_bytes;
        let scratch = Scratch::new(&place.path, args.scratch.as_deref(), bytes)?;
        let (path, to) = (place.path.clone(), scratch.file());
        let queue = tokio::task::spawn_blocking(move || open_copy(path, to))
            .await
            .context("copying the queue's file")??;
        Ok(Self::Copy(Copied {
            queue,
            _scratch: scratch,
        }))
    }

    pub(super) async fn status(&self) -> Result<Status> {
        match self {
            Self::Module(path) => match one(path, Command::Status).await? {
                Answer::Status(status) => Ok(*status),
                other => unexpected(&other),
            },
            Self::Copy(copied) => Ok(Status::of(&copied.queue, None)),
        }
    }

    pub(super) async fn plan(&self, selection: &Selection) -> Result<Plan> {
        match self {
            Self::Module(path) => {
                let selection = selection.clone();
                match one(path, Command::Plan { selection }).await? {
                    Answer::Plan(plan) => Ok(plan),
                    other => unexpected(&other),
                }
            }
            Self::Copy(copied) => {
                let plan = Plan::of(&copied.queue, selection).await;
                plan.map_err(anyhow::Error::msg)
            }
        }
    }

    /// Gives each selected event to `take`, until it wants no more. What was left out is known at the end only.
    pub(super) async fn each(
        &self,
        selection: &Selection,
        events: bool,
        take: &mut (dyn FnMut(Item) -> Result<bool> + Send),
    ) -> Result<Option<End>> {
        let copied = match self {
            Self::Copy(copied) => copied,
            Self::Module(path) => {
                let selection = selection.clone();
                let mut asker = Asker::ask(path, Command::Items { selection, events }).await?;
                loop {
                    match asker.answer().await? {
                        Answer::Item(item) => {
                            if !take(item)? {
                                return Ok(None);
                            }
                        }
                        Answer::End(end) => return Ok(Some(end)),
                        other => return unexpected(&other),
                    }
                }
            }
        };
        let mut walk = Walk::new(&copied.queue, selection)?;
        loop {
            let items = walk.next_lines(events).await?;
            if items.is_empty() {
                // Most damage was found when the copy was opened.
                let damaged = copied.queue.stats().corrupt_rows;
                return Ok(Some(End {
                    damaged,
                    ..walk.end()
                }));
            }
            for item in items {
                if !take(item)? {
                    return Ok(None);
                }
            }
        }
    }
}

/// The one answer to a question.
pub(super) async fn one(path: &std::path::Path, command: Command) -> Result<Answer, AskError> {
    Asker::ask(path, command).await?.answer().await
}

pub(super) fn unexpected<T>(answer: &Answer) -> Result<T> {
    bail!("the process that has the queue open answers something else: {answer:?}")
}

fn open_copy(path: PathBuf, to: PathBuf) -> Result<Queue> {
    let bytes = match copy(&path, &to) {
        Err(error @ CopyError::Storage { .. }) => {
            return Err(error).context(
                "copying the queue's file; another place for the copy can be named with --scratch",
            );
        }
        copied => copied?,
    };
    // Wide enough that nothing is dropped or refused for room.
    let bound = LEAST_BOUND.max(bytes.saturating_mul(4));
    let opened = Queue::open(QueueOptions::new(&to, bound, WhenFull::Reject));
    opened.or_else(|error| match error {
        OpenError::NewerSchema {
            found,
            known,
            reason,
            ..
        } => bail!(
            "queue {}: the file has schema version {found}, this `fieldgate` knows up to {known}, and {reason}; use that of the newer release",
            path.display()
        ),
        OpenError::Storage { reason, .. } => bail!(
            "opening a copy of {} in {}: {reason}; it may need more room than is there: name another folder with --scratch",
            path.display(),
            to.parent().unwrap_or(&to).display()
        ),
        error => Err(error.into()),
    })
}
