//! How every device is doing, for the module's status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use measurement::rfc3339_micros;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What is known of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its link cannot be reached.
    NoConnection,
    /// It failed repeatedly and is left alone for a while.
    Parked,
    /// It did not answer last time.
    Failing,
    /// Not asked yet.
    Starting,
    /// It answers.
    Connected,
}

#[derive(Debug, Clone, Serialize)]
struct State {
    link: String,
    state: Condition,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip)]
    error_at: Option<Instant>,
}

/// The states of all devices. Clones share one set.
#[derive(Debug, Clone, Default)]
pub struct DeviceStates {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    states: Mutex<BTreeMap<String, State>>,
    changed: Notify,
}

/// A status goes into reported properties, which hold 32 KB: only so many devices are listed, the worst first.
const LISTED: usize = 50;
const LONGEST_ERROR: usize = 200;
/// A device with two broken requests has two errors in turn, every cycle: they are not all news.
const ERRORS_APART: Duration = Duration::from_secs(10);

impl DeviceStates {
    /// Adds a device that was not asked yet; one that is known keeps its last error.
    pub fn add(&self, device: &str, link: &str) {
        let mut states = self.states();
        let last_error = states.remove(device).and_then(|state| state.last_error);
        let state = State {
            link: link.to_owned(),
            state: Condition::Starting,
            since: rfc3339_micros(OffsetDateTime::now_utc()),
            last_error,
            error_at: None,
        };
        states.insert(device.to_owned(), state);
        drop(states);
        self.shared.changed.notify_one();
    }

    /// Keeps only the devices that `keep` knows.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.states().retain(|device, _| keep(device));
        self.shared.changed.notify_one();
    }

    /// Tells of a change; an error that is `None` leaves the last one.
    pub fn set(&self, device: &str, condition: Condition, error: Option<&str>) {
        let mut states = self.states();
        let Some(state) = states.get_mut(device) else {
            return;
        };
        let mut changed = false;
        if state.state != condition {
            tracing::info!(device, link = state.link, from = ?state.state, to = ?condition, error, "device");
            state.state = condition;
            state.since = rfc3339_micros(OffsetDateTime::now_utc());
            changed = true;
        }
        if let Some(error) = error {
            let error: String = error.chars().take(LONGEST_ERROR).collect();
            let quiet = state.error_at.is_none_or(|at| at.elapsed() > ERRORS_APART);
            if (changed || quiet) && state.last_error.as_ref() != Some(&error) {
                state.error_at = Some(Instant::now());
                tracing::warn!(device, link = state.link, error, "device");
                state.last_error = Some(error);
                changed = true;
            }
        }
        drop(states);
        if changed {
            self.shared.changed.notify_one();
        }
    }

    /// Returns after a change.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// For the status: how many devices are in which state, and the devices themselves.
    pub fn details(&self) -> Value {
        let states = self.states();
        let mut counts: BTreeMap<Condition, usize> = BTreeMap::new();
        for state in states.values() {
            *counts.entry(state.state).or_default() += 1;
        }
        let mut listed: Vec<(&String, &State)> = states.iter().collect();
        listed.sort_by_key(|(name, state)| (state.state, *name));
        let omitted = listed.len().saturating_sub(LISTED);
        listed.truncate(LISTED);
        let devices: BTreeMap<&String, &State> = listed.into_iter().collect();
        json!({ "counts": counts, "devices": devices, "devices_omitted": omitted })
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.shared
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_counts_all_and_lists_the_worst() {
        let states = DeviceStates::default();
        for number in 0..60 {
            let name = format!("device-{number:02}");
            states.add(&name, "cell-1");
            states.set(&name, Condition::Connected, None);
        }
        states.set("device-59", Condition::Parked, Some("no answer within 1s"));
        states.set("unknown", Condition::Parked, None);
        let details = states.details();
        assert_eq!(details["counts"], json!({"parked": 1, "connected": 59}));
        assert_eq!(details["devices_omitted"], 10);
        let parked = &details["devices"]["device-59"];
        assert_eq!(parked["state"], "parked");
        assert_eq!(parked["last_error"], "no answer within 1s");
        states.retain(|name| name == "device-00");
        assert_eq!(states.details()["counts"], json!({"connected": 1}));
    }
}
