//! Fills a queue at full speed and empties it, and says what was acknowledged, until the power fails.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use store_forward::{AppendError, Queue, QueueOptions, Sequence, StoredItem, WhenFull};

use crate::queue::item::item;
use crate::queue::report::Report;
use crate::queue::unsynced::turn_off_synchronous;

/// Tasks that append at the same time, so that they share commits.
pub(crate) const TASKS: u64 = 4;
/// The most items of one append.
const BATCH: u64 = 8;
/// Items read and removed at a time.
const READ: usize = 48;
/// With more items than this in the queue everything that is read is removed, otherwise some stay.
const MANY: u64 = 1500;
/// Small enough that the log is copied into the database every few commits.
const MAX_BYTES: u64 = 8 << 20;

/// Whether commits are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Synchronous {
    /// As the queue wants it.
    Full,
    /// Against its will they are not: the check must find losses.
    Off,
}

/// What a worker does.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The queue's file.
    pub path: PathBuf,
    /// The lowest number of its items.
    pub first: u64,
    /// Whether commits are synced.
    pub synchronous: Synchronous,
}

/// Options of the queue, for the worker and for the check.
pub(crate) fn options(path: PathBuf) -> QueueOptions {
    QueueOptions {
        commit_delay: Duration::from_millis(1),
        ..QueueOptions::new(path, MAX_BYTES, WhenFull::Reject)
    }
}

impl Worker {
    /// Works until the queue's storage fails.
    ///
    /// # Errors
    ///
    /// Whoever started it does not listen, or `synchronous` could not be turned off.
    pub fn run(self) -> anyhow::Result<()> {
        if self.synchronous == Synchronous::Off {
            turn_off_synchronous()?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(self.work())
    }

    async fn work(self) -> anyhow::Result<()> {
        let queue = match Queue::open(options(self.path)) {
            Ok(queue) => queue,
            Err(error) => return say(&Report::CannotOpen(error.to_string())),
        };
        say(&Report::Opened)?;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(append(queue.clone(), self.first + task));
        }
        tasks.spawn(remove(queue));
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn append(queue: Queue, first: u64) -> anyhow::Result<()> {
    let mut next = first;
    loop {
        let count = 1 + next / TASKS % BATCH;
        let ids: Vec<_> = (0..count).map(|number| next + number * TASKS).collect();
        match queue.append(ids.iter().copied().map(item).collect()).await {
            Ok(sequences) => {
                next += count * TASKS;
                let sequences = sequences.into_iter().map(|sequence| sequence.0).collect();
                say(&Report::Stored { ids, sequences })?;
            }
            Err(AppendError::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => return say(&Report::Failed(error.to_string())),
        }
    }
}

async fn remove(queue: Queue) -> anyhow::Result<()> {
    let mut after = Sequence::START;
    loop {
        let items = match queue.read(after, READ, 1 << 20).await {
            Ok(items) => items,
            Err(error) => return say(&Report::Failed(error.to_string())),
        };
        let many = queue.stats().depth > MANY;
        // What was left is looked at again, from the start.
        after = match items.last() {
            Some(last) if !many => last.sequence,
            _ => Sequence::START,
        };
        let goes = |item: &StoredItem| many || !item.sequence.0.is_multiple_of(3);
        let gone: Vec<_> = items
            .iter()
            .filter(|item| goes(item))
            .map(|item| item.sequence)
            .collect();
        let numbers: Vec<_> = gone.iter().map(|sequence| sequence.0).collect();
        if gone.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        say(&Report::Removing(numbers.clone()))?;
        match queue.remove(gone).await {
            Ok(()) => say(&Report::Removed(numbers))?,
            Err(error) => return say(&Report::Failed(error.to_string())),
        }
    }
}

fn say(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
