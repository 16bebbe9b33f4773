//! The proof of a run: what the broker accepted, what arrived at the hub, and whether every value is right.

mod checker;
mod collector;
mod event_id;
mod latency;
mod ledger;
mod ranges;
mod values;

pub(crate) use checker::{Checker, DeviceView, Verdict};
pub(crate) use collector::Collector;
pub(crate) use ledger::Ledger;
pub(crate) use values::ValueCheck;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The checker as the collector, the ledger, chaos and the view share it. Never held over an await.
#[derive(Debug, Clone)]
pub(crate) struct SharedChecker(Arc<Mutex<Checker>>);

impl SharedChecker {
    pub(crate) fn new(checker: Checker) -> Self {
        Self(Arc::new(Mutex::new(checker)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Checker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
