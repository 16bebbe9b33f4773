//! Power cuts at random moments, each followed by a check.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use store_forward::Queue;

use crate::disk::{Disk, Survival};
use crate::mount::Mount;
use crate::queue::ledger::{Ledger, Verdict, read_all};
use crate::queue::report::Report;
use crate::queue::worker::{Synchronous, TASKS, options};

/// The power fails at one of so many changes of the disk. As often at one of the first ten, while the queue is opened, as at
/// one between the last tenth and the last.
const CHANGES: f64 = 20_000.0;
/// A worker that does not bring the disk to that change for so long hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Numbers of items that a worker has for itself.
const NUMBERS: u64 = TASKS << 32;
/// Details of what was wrong that are told.
const WORDS: usize = 20;

/// A run.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// How often the power fails.
    pub count: u64,
    /// Repeats the choices of a run: the changes at which the power fails and what survives. What the worker does meanwhile
    /// also depends on the machine.
    pub seed: u64,
    /// Whether the worker's commits are synced.
    pub synchronous: Synchronous,
    /// This program, which is started as the worker.
    pub program: PathBuf,
    /// Where the files of a queue that was not sound are kept, as they were right after the cut.
    pub keep: Option<PathBuf>,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Power cuts.
    pub cuts: u64,
    /// Of these, before the worker had the queue open.
    pub cuts_while_opening: u64,
    /// Items whose append was acknowledged.
    pub acknowledged: u64,
    /// Items whose removal was acknowledged.
    pub removed: u64,
    /// Items that were there although nobody had been told: their commit was done, its acknowledgement was not.
    pub unacknowledged: u64,
    /// What was wrong.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Times that the queue did not open.
    pub opens_failed: u64,
    /// Syncs that the disk did.
    pub syncs: u64,
    /// Whether the worker's commits were synced.
    pub synchronous: Synchronous,
    /// See [`Cuts::seed`].
    pub seed: u64,
}

impl Summary {
    /// Nothing was wrong.
    pub fn is_sound(&self) -> bool {
        self.verdict.is_sound() && self.opens_failed == 0
    }
}

/// Runs it. `tell` gets a line for each thing that was wrong, and one now and then.
///
/// # Errors
///
/// The disk cannot be mounted, or a worker does something else than working. What is wrong with the queue is in the summary.
pub fn run(cuts: &Cuts, mut tell: impl FnMut(&str)) -> anyhow::Result<Summary> {
    let folder = tempfile::Builder::new().prefix("power-cuts-").tempdir()?;
    let disk = Disk::new();
    let mut chance = StdRng::seed_from_u64(cuts.seed);
    let mut ledger = Ledger::default();
    let mut summary = Summary {
        cuts: 0,
        cuts_while_opening: 0,
        acknowledged: 0,
        removed: 0,
        unacknowledged: 0,
        verdict: Verdict::default(),
        opens_failed: 0,
        syncs: 0,
        synchronous: cuts.synchronous,
        seed: cuts.seed,
    };
    let mut told = 0;
    for number in 0..cuts.count {
        let after = CHANGES.powf(chance.random_range(0.0..1.0)) as u64;
        let reports = work(cuts, &disk, folder.path(), number, after)
            .with_context(|| format!("cut {number} of seed {}", cuts.seed))?;
        reports.iter().for_each(|report| ledger.note(report));
        summary.cuts += 1;
        summary.cuts_while_opening += u64::from(!reports.contains(&Report::Opened));
        let survival = if chance.random_bool(0.25) {
            Survival::Nothing
        } else {
            Survival::Some
        };
        disk.power_up(survival, &mut chance);
        let left = disk.image();
        let (verdict, words) = match check(&disk, folder.path(), &mut ledger)? {
            Ok(found) => found,
            Err(reason) => {
                summary.opens_failed += 1;
                // Nothing is known of what would come next.
                ledger.begin_anew();
                (Verdict::default(), vec![reason])
            }
        };
        summary.verdict.add(&verdict);
        for line in words.iter().take(WORDS.saturating_sub(told)) {
            tell(&format!(
                "cut {number}, at change {after}, {survival:?} survived: {line}"
            ));
            told += 1;
        }
        if !words.is_empty()
            && let Some(keep) = &cuts.keep
        {
            disk.put(left.clone());
            let keep = keep.join(number.to_string());
            disk.save(&keep)?;
            tell(&format!("the files are in {}", keep.display()));
        }
        // As often the worker finds the files as the check left them, as it finds what the cut left.
        if chance.random_bool(0.5) {
            disk.put(left);
        }
        if words.iter().any(|line| line.starts_with("cannot open")) {
            disk.put(Default::default());
        }
        if (number + 1).is_multiple_of(25) {
            tell(&format!(
                "{} cuts, {} acknowledged, {:?}",
                number + 1,
                ledger.acknowledged,
                summary.verdict
            ));
        }
    }
    summary.acknowledged = ledger.acknowledged;
    summary.removed = ledger.removals;
    summary.unacknowledged = ledger.untold;
    summary.syncs = disk.syncs();
    Ok(summary)
}

/// Lets a worker work until the power fails at a change, and returns what it said.
fn work(
    cuts: &Cuts,
    disk: &Arc<Disk>,
    folder: &Path,
    number: u64,
    after: u64,
) -> anyhow::Result<Vec<Report>> {
    let mount = Mount::new(Arc::clone(disk), folder)?;
    disk.cut_after(after.max(1));
    let mut child = Command::new(&cuts.program)
        .arg("queue-worker")
        .arg(folder.join("queue.db"))
        .args(["--first", &(number * NUMBERS).to_string()])
        .args(match cuts.synchronous {
            Synchronous::Full => ["--synchronous", "full"],
            Synchronous::Off => ["--synchronous", "off"],
        })
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", cuts.program.display()))?;
    let listener = listen(&mut child)?;
    let until = Instant::now() + PATIENCE;
    let mut ended = None;
    while !disk.wait_for_cut(Duration::from_millis(50)) && ended.is_none() {
        ended = child.try_wait()?;
        if Instant::now() > until {
            break;
        }
    }
    let failed = disk.wait_for_cut(Duration::ZERO);
    // Everything it says was acknowledged before the cut: a disk without power syncs nothing.
    child.kill()?;
    child.wait()?;
    let reports = listener
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that listens to the worker ended"))??;
    drop(mount);
    let last = reports.last();
    anyhow::ensure!(
        failed || ended.is_none(),
        "the worker ended before the power failed: {ended:?}, last it said {last:?}"
    );
    anyhow::ensure!(
        failed,
        "the worker hangs: {after} changes were not reached in {PATIENCE:?}, last it said {last:?}"
    );
    Ok(reports)
}

fn listen(child: &mut Child) -> anyhow::Result<JoinHandle<anyhow::Result<Vec<Report>>>> {
    let out = child.stdout.take().context("the worker has no output")?;
    Ok(std::thread::spawn(move || {
        let mut reports = Vec::new();
        for line in BufReader::new(out).split(b'\n') {
            // The kill may cut the last line off: what it says nobody was told.
            match serde_json::from_slice(&line?) {
                Ok(report) => reports.push(report),
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(error).context("the worker said something else"),
            }
        }
        Ok(reports)
    }))
}

/// Opens the queue on what the cut left. The inner error: it does not open.
fn check(
    disk: &Arc<Disk>,
    folder: &Path,
    ledger: &mut Ledger,
) -> anyhow::Result<Result<(Verdict, Vec<String>), String>> {
    let _mount = Mount::new(Arc::clone(disk), folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let queue = match Queue::open(options(folder.join("queue.db"))) {
            Ok(queue) => queue,
            Err(error) => return Ok(Err(format!("cannot open: {error}"))),
        };
        let stats = queue.stats();
        let found = match read_all(&queue).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(format!("cannot open: it cannot be read: {error}"))),
        };
        let result = ledger.check(&found, &stats);
        queue.close().await?;
        Ok(Ok(result))
    })
}
