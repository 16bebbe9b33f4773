//! Counters that anybody may read at any time without asking the queue's thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admission::Changes;
use crate::item::{Priority, Route, Sequence};
use crate::store::Store;
use crate::tally::Lots;

/// What a queue holds and what it has done since it was opened. Each figure is exact; figures of one snapshot may be a
/// commit apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Items in the queue.
    pub depth: u64,
    /// Bytes of all their parts, without the overhead of the file.
    pub payload_bytes: u64,
    /// Bytes on disk: database file and write-ahead log. Never above `max_bytes`.
    pub file_bytes: u64,
    /// Age of the oldest item by the machine's clock; zero if the clock went back. None if the queue is empty.
    pub oldest_age: Option<Duration>,
    /// Whether the last write that was not a removal was synced to the disk. False before the first: see
    /// [`Queue::trial_write`](crate::Queue::trial_write).
    pub writable: bool,
    /// Items stored.
    pub appended: u64,
    /// Bytes of all their parts.
    pub appended_bytes: u64,
    /// Bytes given to the file system: log and database. What it writes beyond that for its own purposes is not in it.
    pub written_bytes: u64,
    /// Items removed by [`Queue::remove`](crate::Queue::remove).
    pub removed: u64,
    /// Items dropped to make room for newer ones.
    pub dropped_oldest: u64,
    /// New items dropped because there was no room.
    pub dropped_newest: u64,
    /// Items dropped because their lifetime was over.
    pub dropped_expired: u64,
    /// Items taken out by [`Queue::purge`](crate::Queue::purge).
    pub dropped_purged: u64,
    /// Items of a newer release that this one cannot keep: `last_error` has the reason.
    pub dropped_downgrade: u64,
    /// New items refused because there was no room.
    pub rejected: u64,
    /// Items lost because their row was damaged or could no longer be read.
    pub corrupt_rows: u64,
    /// Damaged database files and write-ahead logs that were set aside.
    pub corrupt_files: u64,
    /// Failures of the storage: disk full, input/output errors.
    pub storage_errors: u64,
    /// How often the file was made smaller after a backlog had drained.
    pub compactions: u64,
    /// The last failure of the storage or damage, in words.
    pub last_error: Option<String>,
    /// By priority: the index is the priority's number.
    pub priorities: [PriorityStats; Priority::COUNT],
    /// By route: those that have items or had any since the queue was opened.
    pub routes: BTreeMap<Route, Flow>,
    /// What was dropped: the sum over all is `dropped_oldest`, `dropped_newest`, `dropped_expired` and `dropped_purged`
    /// together.
    pub drops: Vec<Dropped>,
}

/// What a queue holds of one priority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriorityStats {
    /// See [`Flow`].
    pub flow: Flow,
    /// Age of its oldest item, as [`QueueStats::oldest_age`].
    pub oldest_age: Option<Duration>,
    /// Its oldest item. None if it has none.
    pub first: Option<Sequence>,
    /// Its newest item. None if it has none.
    pub last: Option<Sequence>,
}

/// What there is of a kind of items, and what became of others of it since the queue was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Items in the queue.
    pub depth: u64,
    /// Bytes of all their parts.
    pub payload_bytes: u64,
    /// Items stored.
    pub appended: u64,
    /// Items removed by [`Queue::remove`](crate::Queue::remove).
    pub removed: u64,
    /// Items dropped, for whatever reason: see [`QueueStats::drops`].
    pub dropped: u64,
    /// New items refused because there was no room.
    pub rejected: u64,
}

/// Why an item was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It made room for a newer one, or `max_bytes` was lowered.
    Oldest,
    /// It was new and found no room.
    Newest,
    /// Its lifetime was over.
    Expired,
    /// Somebody took it out.
    Purged,
}

impl DropReason {
    /// As it is called in metrics: `oldest`, `newest`, `expired`, `purged`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Expired => "expired",
            Self::Purged => "purged",
        }
    }
}

/// How many items of a kind were dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// Their priority.
    pub priority: Priority,
    /// Their route.
    pub route: Route,
    /// How many.
    pub items: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writable: AtomicBool,
    pub(crate) storage_errors: AtomicU64,
    /// Tables that hold anything.
    tables: AtomicU64,
    figures: Mutex<Figures>,
}

/// Changes a few times per commit at most.
#[derive(Debug, Default)]
struct Figures {
    /// Without ages and what is counted elsewhere.
    stats: QueueStats,
    /// When the oldest item of each priority, and of all, came. Microseconds since 1970.
    oldest: [Option<i64>; Priority::COUNT],
    oldest_of_all: Option<i64>,
    drops: BTreeMap<(DropReason, Priority, Route), u64>,
    /// Bytes written by stores that are gone.
    written_before: u64,
}

/// What is lost with a file.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) left_behind: u64,
}

impl Counters {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tables(&self) -> u64 {
        self.tables.load(Relaxed)
    }

    pub(crate) fn set_last_error(&self, message: String) {
        self.figures().stats.last_error = Some(message);
    }

    pub(crate) fn count_damage(&self, damage: &Damage) {
        let stats = &mut self.figures().stats;
        stats.corrupt_rows += damage.rows;
        stats.corrupt_files += damage.files;
        stats.dropped_downgrade += damage.left_behind;
    }

    pub(crate) fn count_compaction(&self) {
        self.figures().stats.compactions += 1;
    }

    pub(crate) fn count(&self, changes: &Changes) {
        let mut figures = self.figures();
        figures.flow(&changes.appended, |flow, items| flow.appended += items);
        figures.flow(&changes.removed, |flow, items| flow.removed += items);
        figures.flow(&changes.rejected, |flow, items| flow.rejected += items);
        for (reason, lots) in [
            (DropReason::Oldest, &changes.dropped_oldest),
            (DropReason::Newest, &changes.dropped_newest),
            (DropReason::Expired, &changes.dropped_expired),
            (DropReason::Purged, &changes.purged),
        ] {
            figures.flow(lots, |flow, items| flow.dropped += items);
            for lot in &lots.0 {
                let key = (reason, lot.priority, lot.route.clone());
                *figures.drops.entry(key).or_default() += lot.content.items;
            }
        }
        let stats = &mut figures.stats;
        stats.appended += changes.appended.items();
        stats.appended_bytes += changes.appended.bytes();
        stats.removed += changes.removed.items();
        stats.rejected += changes.rejected.items();
        stats.dropped_oldest += changes.dropped_oldest.items();
        stats.dropped_newest += changes.dropped_newest.items();
        stats.dropped_expired += changes.dropped_expired.items();
        stats.dropped_purged += changes.purged.items();
    }

    /// Takes over what is in the tables.
    pub(crate) fn show(&self, store: &Store) {
        let tally = &store.tally;
        self.tables.store(tally.tables(), Relaxed);
        let file_bytes = store.file_bytes();
        let mut figures = self.figures();
        let figures = &mut *figures;
        figures.oldest_of_all = tally.oldest();
        let stats = &mut figures.stats;
        stats.depth = tally.depth();
        stats.payload_bytes = tally.bytes();
        stats.file_bytes = file_bytes;
        stats.written_bytes = figures.written_before + store.written;
        for (index, lane) in tally.lanes.iter().enumerate() {
            let shown = &mut stats.priorities[index];
            shown.flow.depth = lane.content.items;
            shown.flow.payload_bytes = lane.content.bytes;
            shown.first = lane.oldest.map(|(sequence, _)| Sequence(sequence));
            shown.last = lane.newest.map(Sequence);
            figures.oldest[index] = lane.oldest.map(|(_, enqueued)| enqueued);
        }
        for (route, content) in &tally.routes {
            if let Some(flow) = stats.routes.get_mut(route) {
                (flow.depth, flow.payload_bytes) = (content.items, content.bytes);
            } else if content.items > 0 {
                let flow = stats.routes.entry(route.clone()).or_default();
                (flow.depth, flow.payload_bytes) = (content.items, content.bytes);
            }
        }
    }

    /// A store is given up; another one takes its place, which may know fewer routes.
    pub(crate) fn lose(&self, store: &Store) {
        let mut figures = self.figures();
        figures.written_before += store.written;
        for flow in figures.stats.routes.values_mut() {
            (flow.depth, flow.payload_bytes) = (0, 0);
        }
    }

    pub(crate) fn priority(&self, priority: Priority) -> PriorityStats {
        let figures = self.figures();
        let mut stats = figures.stats.priorities[priority.index()].clone();
        stats.oldest_age = figures.oldest[priority.index()].map(age);
        stats
    }

    pub(crate) fn snapshot(&self) -> QueueStats {
        let figures = self.figures();
        let mut stats = figures.stats.clone();
        for (shown, oldest) in stats.priorities.iter_mut().zip(figures.oldest) {
            shown.oldest_age = oldest.map(age);
        }
        stats.oldest_age = figures.oldest_of_all.map(age);
        stats.drops = figures
            .drops
            .iter()
            .map(|((reason, priority, route), items)| Dropped {
                reason: *reason,
                priority: *priority,
                route: route.clone(),
                items: *items,
            })
            .collect();
        stats.writable = self.writable.load(Relaxed);
        stats.storage_errors = self.storage_errors.load(Relaxed);
        stats
    }
}

impl Figures {
    /// Adds items to the flows of their priority and of their route.
    fn flow(&mut self, lots: &Lots, add: impl Fn(&mut Flow, u64)) {
        for lot in &lots.0 {
            let items = lot.content.items;
            add(&mut self.stats.priorities[lot.priority.index()].flow, items);
            add(
                self.stats.routes.entry(lot.route.clone()).or_default(),
                items,
            );
        }
    }
}

/// Microseconds since 1970 by the machine's clock.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn age(enqueued: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_micros().saturating_sub(enqueued)).unwrap_or_default())
}
