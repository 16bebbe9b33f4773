//! Taking events out: first what would go, then exactly that.

use std::collections::BTreeMap;

use measurement::rfc3339_micros;
use serde::{Deserialize, Serialize};
use store_forward::{Queue, QueueError, Sequence};
use time::OffsetDateTime;

use crate::selection::{Selection, SelectionError};
use crate::walk::Walk;

/// Events are taken out in so many at a time; what else asks the queue comes in between.
const AT_ONCE: usize = 4096;

/// What a purge would take out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Events.
    pub events: u64,
    /// Bytes of all their parts.
    pub bytes: u64,
    /// When the oldest was stored.
    pub oldest: Option<String>,
    /// When the newest was stored.
    pub newest: Option<String>,
    /// Events by priority.
    pub priorities: BTreeMap<u8, u64>,
    /// Events by route.
    pub routes: BTreeMap<String, u64>,
    /// The highest number among them: with it as `until` nothing goes that was not counted.
    pub until: u64,
}

/// What a purge took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Events.
    pub events: u64,
}

/// Why events were not taken out, or not all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PurgeError {
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Plan {
    /// Looks at what a purge of this would take out.
    ///
    /// # Errors
    /// In words: a selection that is none, or the queue's storage.
    pub async fn of(queue: &Queue, selection: &Selection) -> Result<Self, String> {
        Self::look(queue, selection)
            .await
            .map_err(|error| error.to_string())
    }

    async fn look(queue: &Queue, selection: &Selection) -> Result<Self, PurgeError> {
        let mut walk = Walk::new(queue, selection)?;
        let mut plan = Self::default();
        let mut times = None;
        loop {
            let items = walk.next().await?;
            if items.is_empty() {
                break;
            }
            for item in items {
                plan.events += 1;
                plan.bytes += item.size() as u64;
                *plan.priorities.entry(item.priority.get()).or_default() += 1;
                // No new name for each event.
                match plan.routes.get_mut(item.route.as_str()) {
                    Some(events) => *events += 1,
                    None => drop(plan.routes.insert(item.route.as_str().to_owned(), 1)),
                }
                plan.until = item.sequence.0;
                let (oldest, newest) = times.unwrap_or((item.enqueued, item.enqueued));
                times = Some((oldest.min(item.enqueued), newest.max(item.enqueued)));
            }
        }
        if let Some((oldest, newest)) = times {
            plan.oldest = Some(rfc3339_micros(OffsetDateTime::from(oldest)));
            plan.newest = Some(rfc3339_micros(OffsetDateTime::from(newest)));
        }
        Ok(plan)
    }
}

/// Takes the selected events out of a queue. They are counted as dropped, with the reason `purged`. What of them was removed, dropped or
/// has expired meanwhile is not counted.
///
/// # Errors
/// In words: a selection that is none, or the queue's storage; what was taken out until then stays out.
pub async fn purge(queue: &Queue, selection: &Selection) -> Result<Purged, String> {
    take_out(queue, selection)
        .await
        .map_err(|error| error.to_string())
}

async fn take_out(queue: &Queue, selection: &Selection) -> Result<Purged, PurgeError> {
    let mut walk = Walk::new(queue, selection)?;
    let mut purged = Purged::default();
    let mut numbers: Vec<Sequence> = Vec::new();
    loop {
        let items = walk.next().await?;
        let ended = items.is_empty();
        numbers.extend(items.iter().map(|item| item.sequence));
        if ended || numbers.len() >= AT_ONCE {
            purged.events += queue.purge(std::mem::take(&mut numbers)).await?;
        }
        if ended {
            return Ok(purged);
        }
    }
}
