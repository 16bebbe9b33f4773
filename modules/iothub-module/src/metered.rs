//! The byte budget of the line, shared by all identities and kept in a file over restarts.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::{BUDGET_HOLDS, BUDGET_USED};
use crate::pace::budget::Saved;
use crate::pace::{
    Admission, Bound, Budget, BudgetEvent, BudgetOptions, BudgetState, Now, Priority,
};

/// How often states that end by time are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A message that waits for the figure to be stored is asked about again after this time.
const SOON: Duration = Duration::from_millis(20);
/// Wait after a failure to store it.
const STORAGE_WAIT: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub struct Metered {
    path: PathBuf,
    options: BudgetOptions,
    inner: Mutex<Inner>,
    save: Notify,
}

#[derive(Debug)]
struct Inner {
    budget: Budget,
    /// Bytes of a message that the stored figure does not cover yet.
    wanted: u64,
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    saved: Saved,
}

const VERSION: u32 = 1;

impl Metered {
    /// A budget that goes on from what the file beside the queue's says. A file that cannot be read is told, and counting begins with nothing.
    #[must_use]
    pub fn open(queue: &Path, options: BudgetOptions) -> Arc<Self> {
        let mut path = queue.as_os_str().to_owned();
        path.push(".budget");
        let path = PathBuf::from(path);
        let saved = match read(&path) {
            Ok(saved) => saved.unwrap_or_default(),
            Err(reason) => {
                tracing::error!(path = %path.display(), reason, "the stored byte budget cannot be read; what was spent this month before now is not counted");
                Saved::default()
            }
        };
        Arc::new(Self {
            path,
            options,
            inner: Mutex::new(Inner {
                budget: Budget::new(options, saved, now()),
                wanted: 0,
            }),
            save: Notify::new(),
        })
    }

    /// Events of this priority and above are urgent.
    #[must_use]
    pub fn urgent_from(&self) -> Option<Priority> {
        self.options.urgent_from
    }

    /// See [`BudgetOptions::largest_message`].
    #[must_use]
    pub fn largest_message(&self) -> Option<usize> {
        self.options.largest_message()
    }

    /// When a message of `bytes` may go: now, if None.
    #[must_use]
    pub fn not_before(&self, priority: Priority, bytes: u64) -> Option<Instant> {
        let now = now();
        let mut inner = self.inner();
        if let Admission::Wait { until, .. } = inner.budget.admit(priority, bytes, now) {
            return Some(until);
        }
        if inner.budget.is_covered(bytes) {
            return None;
        }
        inner.wanted = inner.wanted.max(bytes);
        self.save.notify_one();
        Some(now.at + SOON)
    }

    /// `bytes` went out.
    pub fn spend(&self, bytes: u64) {
        let mut inner = self.inner();
        inner.budget.spend(bytes, now());
        if inner.budget.to_save(0).is_some() {
            self.save.notify_one();
        }
    }

    /// Where the budget stands.
    #[must_use]
    pub fn state(&self) -> BudgetState {
        self.inner().budget.state(now())
    }

    /// Stores the figure when it is time to, and tells what begins and ends, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut failed = false;
        loop {
            self.tell();
            let due = {
                let mut inner = self.inner();
                let wanted = std::mem::take(&mut inner.wanted);
                inner.budget.to_save(wanted)
            };
            let mut wait = EVERY;
            if let Some(saved) = due {
                let stored = self.store(saved).await;
                if let Err(error) = &stored
                    && !failed
                {
                    tracing::error!(path = %self.path.display(), %error, "the byte budget cannot be stored; messages wait in the queue until it can: free space on its disk or check the disk");
                }
                failed = stored.is_err();
                wait = if failed { STORAGE_WAIT } else { EVERY };
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.save.notified(), if !failed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let exact = self.inner().budget.exact();
        if self.state().month.1.is_some()
            && let Err(error) = self.store(exact).await
        {
            tracing::warn!(path = %self.path.display(), %error, "the byte budget is stored a little ahead of what was spent");
        }
    }

    async fn store(&self, saved: Saved) -> io::Result<()> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, saved)).await;
        written.map_err(io::Error::other)??;
        self.inner().budget.saved(&saved);
        Ok(())
    }

    fn tell(&self) {
        let (event, state) = {
            let mut inner = self.inner();
            let now = now();
            (inner.budget.tick(now), inner.budget.state(now))
        };
        match event {
            Some(event @ BudgetEvent::UsedUp(_)) => tracing::warn!("{event}"),
            Some(event @ BudgetEvent::FreeAgain(_)) => tracing::info!("{event}"),
            None => {}
        }
        for (bound, (used, limit)) in [(Bound::Minute, state.minute), (Bound::Month, state.month)] {
            if limit.is_none() {
                continue;
            }
            // A gauge is a float.
            #[allow(clippy::cast_precision_loss, reason = "2^53 bytes are out of reach")]
            metrics::gauge!(BUDGET_USED.name, "bound" => bound.word()).set(used as f64);
            let holds = state.holds == Some(bound);
            metrics::gauge!(BUDGET_HOLDS.name, "bound" => bound.word())
                .set(f64::from(u8::from(holds)));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Now {
    Now {
        at: Instant::now(),
        utc: SystemTime::now(),
    }
}

fn read(path: &Path) -> Result<Option<Saved>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let document: Document = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!(
            "it has version {}, known is {VERSION}",
            document.version
        ));
    }
    Ok(Some(document.saved))
}

/// A whole new file in place of the old one, or the old one.
fn write(path: &Path, saved: Saved) -> io::Result<()> {
    let document = Document {
        version: VERSION,
        saved,
    };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(&document)?)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::until;

    const BYTES: u64 = 10_000;

    fn options(per_month: u64) -> BudgetOptions {
        BudgetOptions {
            per_month: Some(per_month),
            ..BudgetOptions::default()
        }
    }

    fn admitted(metered: &Metered) -> bool {
        metered.not_before(Priority::DEFAULT, BYTES).is_none()
    }

    #[tokio::test]
    async fn what_was_spent_outlives_an_orderly_end_exactly_and_a_crash_at_least() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        for (is_orderly, least, most) in [
            (true, 2 * BYTES, 2 * BYTES),
            (false, 4 * BYTES, 4 * BYTES + 64 * 1024),
        ] {
            let metered = Metered::open(&queue, options(1 << 20));
            assert!(
                !admitted(&metered),
                "nothing goes that the file does not cover"
            );
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(Arc::clone(&metered).run(shutdown.clone()));
            for _ in 0..2 {
                until("the figure is stored", || admitted(&metered)).await;
                metered.spend(BYTES);
            }
            if is_orderly {
                shutdown.cancel();
                task.await.unwrap();
            } else {
                task.abort();
                let _ = task.await;
            }
            let (used, _) = Metered::open(&queue, options(1 << 20)).state().month;
            assert!((least..=most).contains(&used), "{used}");
        }
    }

    #[tokio::test]
    async fn a_used_up_month_holds_back_and_a_damaged_file_is_no_crash() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        std::fs::write(folder.path().join("queue.db.budget"), "{").unwrap();
        let metered = Metered::open(&queue, options(1 << 20));
        assert_eq!(metered.state().month, (0, Some(1 << 20)));
        metered.spend(1 << 20);
        let until = metered.not_before(Priority::DEFAULT, 1).unwrap();
        assert!(until > Instant::now() + Duration::from_millis(500));
    }
}
