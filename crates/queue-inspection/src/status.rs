//! What a queue holds, and what became of the rest.

use serde::{Deserialize, Serialize};
use store_forward::{Priority, PriorityStats, Queue, WhenFull};

/// What a queue says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Events in the queue.
    pub events: u64,
    /// Bytes of all their parts, without the overhead of the file.
    pub bytes: u64,
    /// Database and log on disk.
    pub file_bytes: u64,
    /// What bounds `file_bytes`, if it is known.
    pub max_bytes: Option<u64>,
    /// `drop-oldest`, `drop-newest` or `reject`, if it is known.
    pub when_full: Option<String>,
    /// How long the oldest has been there.
    pub oldest_age_seconds: Option<f64>,
    /// The number that was given out last.
    pub last_number: u64,
    /// Priorities that have events, the highest first.
    pub priorities: Vec<OfPriority>,
    /// Routes that have events.
    pub routes: Vec<OfRoute>,
    /// Since the queue was opened by the process that answers.
    pub since_opened: SinceOpened,
}

/// What there is of a priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfPriority {
    /// 0 to 9.
    pub priority: u8,
    /// Events.
    pub events: u64,
    /// Bytes of all their parts.
    pub bytes: u64,
    /// How long the oldest has been there.
    pub oldest_age_seconds: Option<f64>,
    /// The oldest's number.
    pub first: Option<u64>,
    /// The newest's number.
    pub last: Option<u64>,
}

/// What there is of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRoute {
    /// Its name.
    pub route: String,
    /// Events.
    pub events: u64,
    /// Bytes of all their parts.
    pub bytes: u64,
}

/// What happened since the queue was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceOpened {
    /// Events stored.
    pub stored: u64,
    /// Events removed after they were sent.
    pub removed: u64,
    /// Events refused because there was no room.
    pub rejected: u64,
    /// Events dropped.
    pub dropped: Vec<Dropped>,
    /// Events of a newer release that this one cannot keep.
    pub left_behind: u64,
    /// Events lost by damage.
    pub damaged_events: u64,
    /// Damaged files that were set aside.
    pub damaged_files: u64,
    /// Failures of the disk.
    pub storage_errors: u64,
    /// The last of these, in words.
    pub last_error: Option<String>,
}

/// Events that were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// `oldest`, `newest`, `expired` or `purged`.
    pub reason: String,
    /// 0 to 9.
    pub priority: u8,
    /// Name of the route.
    pub route: String,
    /// How many.
    pub events: u64,
}

impl Status {
    /// Of a queue that is open in this process.
    #[must_use]
    pub fn of(queue: &Queue, bound: Option<(u64, WhenFull)>) -> Self {
        let stats = queue.stats();
        let age = |age: Option<std::time::Duration>| age.map(|age| age.as_secs_f64());
        let of_priority = |(number, stats): (u8, PriorityStats)| OfPriority {
            priority: number,
            events: stats.flow.depth,
            bytes: stats.flow.payload_bytes,
            oldest_age_seconds: age(stats.oldest_age),
            first: stats.first.map(|number| number.0),
            last: stats.last.map(|number| number.0),
        };
        Self {
            events: stats.depth,
            bytes: stats.payload_bytes,
            file_bytes: stats.file_bytes,
            max_bytes: bound.map(|(max_bytes, _)| max_bytes),
            when_full: bound.map(|(_, when_full)| word(when_full).to_owned()),
            oldest_age_seconds: age(stats.oldest_age),
            last_number: queue.changed().borrow().0,
            priorities: Priority::descending()
                .map(|priority| (priority.get(), queue.priority(priority)))
                .filter(|(_, stats)| stats.flow.depth > 0)
                .map(of_priority)
                .collect(),
            routes: stats
                .routes
                .iter()
                .filter(|(_, flow)| flow.depth > 0)
                .map(|(route, flow)| OfRoute {
                    route: route.as_str().to_owned(),
                    events: flow.depth,
                    bytes: flow.payload_bytes,
                })
                .collect(),
            since_opened: SinceOpened {
                stored: stats.appended,
                removed: stats.removed,
                rejected: stats.rejected,
                dropped: stats
                    .drops
                    .iter()
                    .map(|dropped| Dropped {
                        reason: dropped.reason.as_str().to_owned(),
                        priority: dropped.priority.get(),
                        route: dropped.route.as_str().to_owned(),
                        events: dropped.items,
                    })
                    .collect(),
                left_behind: stats.dropped_downgrade,
                damaged_events: stats.corrupt_rows,
                damaged_files: stats.corrupt_files,
                storage_errors: stats.storage_errors,
                last_error: stats.last_error,
            },
        }
    }
}

/// As in the module's document.
fn word(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::DropOldest => "drop-oldest",
        WhenFull::DropNewest => "drop-newest",
        WhenFull::Reject => "reject",
    }
}
