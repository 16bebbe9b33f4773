//! Whether a module can do its work, and if not, why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The parts a module depends on; ready when all of them are. Clones share one state.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None is ready, Some the reason why not.
    components: Mutex<BTreeMap<String, Option<String>>>,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn components(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // A panic elsewhere leaves the map whole: every change is one insert.
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
                components: Mutex::default(),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Adds a part, not ready ("starting") until its flag says so. The same name gives the same part.
    pub fn component(&self, name: &str) -> HealthFlag {
        self.shared
            .components()
            .entry(name.to_owned())
            .or_insert_with(|| Some("starting".to_owned()));
        self.shared.changes.send_modify(|count| *count += 1);
        HealthFlag {
            health: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Takes a part out: it no longer exists in the configuration.
    pub fn remove(&self, name: &str) {
        self.shared.components().remove(name);
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.shared.components().values().all(Option::is_none)
    }

    /// The parts that are not ready, and why.
    pub fn reasons(&self) -> BTreeMap<String, String> {
        self.shared
            .components()
            .iter()
            .filter_map(|(name, reason)| Some((name.clone(), reason.clone()?)))
            .collect()
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
        let next = (!ready).then(|| reason.into());
        {
            let mut components = self.health.shared.components();
            let Some(current) = components.get_mut(&self.name) else {
                return;
            };
            if *current == next {
                return;
            }
            current.clone_from(&next);
        }
        match &next {
            None => tracing::info!(component = self.name, "ready"),
            Some(reason) => tracing::warn!(component = self.name, reason, "not ready"),
        }
        self.health.shared.changes.send_modify(|count| *count += 1);
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
}
