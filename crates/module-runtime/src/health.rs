//! Whether a module can do its work, and if not, why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The parts a module depends on; ready when all of them are. Clones share one state.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    components: BTreeMap<String, Part>,
    standby: bool,
    /// Until then what is only starting counts as ready.
    lenient_until: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Its flag has said nothing yet.
    Starting,
    Ready,
    NotReady(String),
}

impl State {
    fn reason<'a>(&self, part: &'a Part) -> Option<&'a str> {
        match part {
            Part::Ready => None,
            Part::NotReady(reason) => Some(reason),
            Part::Starting => {
                let lenient = self
                    .lenient_until
                    .is_some_and(|until| Instant::now() < until);
                (!lenient).then_some("starting")
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Without parts: ready.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Adds a part, not ready ("starting") until its flag says so. The same name gives the same part.
    pub fn component(&self, name: &str) -> HealthFlag {
        self.shared
            .state()
            .components
            .entry(name.to_owned())
            .or_insert(Part::Starting);
        self.shared.changed();
        HealthFlag {
            health: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Takes a part out: it no longer exists in the configuration.
    pub fn remove(&self, name: &str) {
        self.shared.state().components.remove(name);
        self.shared.changed();
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// The parts that are not ready, and why.
    pub fn reasons(&self) -> BTreeMap<String, String> {
        let state = self.shared.state();
        let parts = state.components.iter();
        parts
            .filter_map(|(name, part)| Some((name.clone(), state.reason(part)?.to_owned())))
            .collect()
    }

    /// Whether this instance waits for another one of its module to end.
    pub fn is_standby(&self) -> bool {
        self.shared.state().standby
    }

    pub(crate) fn set_standby(&self) {
        self.shared.state().standby = true;
        self.shared.changed();
    }

    /// An instance that was ready as standby and now opens what it works with stays ready: what is only starting counts
    /// as ready for so long. What says that it is not ready counts at once.
    pub(crate) fn end_standby(&self, starting: Duration) {
        {
            let mut state = self.shared.state();
            state.standby = false;
            state.lenient_until = Some(Instant::now() + starting);
        }
        self.shared.changed();
    }

    /// Sees every change of a part.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

/// Says whether one part is ready.
#[derive(Debug, Clone)]
pub struct HealthFlag {
    health: Health,
    name: String,
}

impl HealthFlag {
    /// Ready, or not for a reason; the reason of a ready part is ignored. Changes are logged.
    pub fn set_ready(&self, ready: bool, reason: impl Into<String>) {
        let next = if ready {
            Part::Ready
        } else {
            Part::NotReady(reason.into())
        };
        {
            let mut state = self.health.shared.state();
            let Some(current) = state.components.get_mut(&self.name) else {
                return;
            };
            if *current == next {
                return;
            }
            current.clone_from(&next);
        }
        match &next {
            Part::NotReady(reason) => {
                tracing::warn!(component = self.name, reason, "not ready");
            }
            Part::Ready | Part::Starting => tracing::info!(component = self.name, "ready"),
        }
        self.health.shared.changed();
    }

    /// Whether its part is there and ready.
    pub fn is_ready(&self) -> bool {
        self.health.shared.state().components.get(&self.name) == Some(&Part::Ready)
    }

    /// `set_ready(true, …)`.
    pub fn ready(&self) {
        self.set_ready(true, "");
    }

    /// `set_ready(false, reason)`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set_ready(false, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_all_parts_are() {
        let health = Health::new();
        assert!(health.is_ready());
        let line = health.component("line-1");
        let broker = health.component("broker");
        assert!(!health.is_ready());
        line.ready();
        broker.not_ready("no route");
        assert_eq!(
            health.reasons(),
            BTreeMap::from([("broker".to_owned(), "no route".to_owned())])
        );
        broker.ready();
        assert!(health.is_ready());
        broker.not_ready("gone");
        health.remove("broker");
        assert!(health.is_ready());
    }

    #[test]
    fn only_changes_are_told() {
        let health = Health::new();
        let flag = health.component("a");
        flag.ready();
        let mut changes = health.changes();
        changes.mark_unchanged();
        flag.ready();
        assert!(!changes.has_changed().unwrap());
        flag.not_ready("x");
        assert!(changes.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_took_over_stays_ready_while_its_parts_start() {
        let health = Health::new();
        health.set_standby();
        assert!(health.is_standby() && health.is_ready());
        health.end_standby(Duration::from_secs(10));
        let queue = health.component("queue");
        let broker = health.component("broker");
        assert!(health.is_ready() && !health.is_standby());
        broker.not_ready("refused");
        assert_eq!(health.reasons().len(), 1, "what is known counts at once");
        broker.ready();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(
            health.reasons(),
            BTreeMap::from([("queue".to_owned(), "starting".to_owned())])
        );
        queue.ready();
        assert!(health.is_ready());
    }
}
