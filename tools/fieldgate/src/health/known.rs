//! What worked before an update, so that after it no more is demanded than there was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::Observation;
use super::judge::{Part, wanted};
use super::workload::trouble;

/// A module that sends less often is not waited for: nobody could tell its silence from a failure.
const RARE: u64 = 180;

/// What worked at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) time: OffsetDateTime,
    #[serde(default)]
    pub(crate) modules: BTreeMap<String, KnownModule>,
    /// Whether there was a connection to the hub.
    #[serde(default)]
    pub(crate) hub: bool,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownModule {
    pub(crate) ready: bool,
    /// Events the broker took from it in so many seconds.
    #[serde(default)]
    pub(crate) events: u64,
    #[serde(default)]
    pub(crate) seconds: u64,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

impl KnownModule {
    /// Whether it sends so often that an event must come again soon.
    pub(crate) fn sends(&self) -> bool {
        self.events > 0 && self.seconds / self.events <= RARE
    }
}

impl Known {
    /// What works now.
    pub(crate) fn of(observation: &Observation) -> Self {
        let mut modules = BTreeMap::new();
        for workload in &observation.cluster.workloads {
            let Some(Part::Module(name)) = wanted(workload) else {
                continue;
            };
            let figures = observation.figures.get(&name);
            let known = KnownModule {
                ready: trouble(workload, &observation.cluster, &observation.boot).is_none(),
                events: figures.and_then(|figures| figures.events).unwrap_or(0),
                seconds: figures.map_or(0, |figures| figures.seconds),
                other: Map::new(),
            };
            modules.insert(name, known);
        }
        let mut figures = observation.figures.values();
        Self {
            time: observation.time,
            modules,
            hub: figures.any(|figures| figures.hub_connected == Some(true)),
            other: Map::new(),
        }
    }
}
