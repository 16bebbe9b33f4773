//! The intake's metrics, looked up once: they are touched for every event.

use metrics::Counter;
use routes::{Routes, Treatment};

use crate::metrics::{AFTER_GAP, DROPPED, DUPLICATES, LATE, RECEIVED, REORDERED, ROUTED};

pub(super) struct Counters {
    pub(super) received: Counter,
    pub(super) duplicates: Counter,
    pub(super) reordered: Counter,
    pub(super) late: Counter,
    pub(super) after_gap: Counter,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            received: metrics::counter!(RECEIVED.name),
            duplicates: metrics::counter!(DUPLICATES.name),
            reordered: metrics::counter!(REORDERED.name),
            late: metrics::counter!(LATE.name),
            after_gap: metrics::counter!(AFTER_GAP.name),
        }
    }
}

/// The counters of one route. An event keeps those of the route it took: the rules may change while it waits.
#[derive(Debug, Clone)]
pub(super) struct RouteCounters {
    /// As the queue keeps it.
    pub(super) name: store_forward::Route,
    routed: Counter,
    /// Only of a route that drops.
    dropped: Option<Counter>,
}

impl RouteCounters {
    /// In the order of the routes.
    pub(super) fn of_all(routes: &Routes) -> Vec<Self> {
        let of_route = |route: &routes::Route| {
            let name = route.name.to_string();
            let drops = route.treatment == Treatment::Drop;
            Self {
                name: store_forward::Route::new(&name).unwrap_or_default(),
                routed: metrics::counter!(ROUTED.name, "route" => name.clone()),
                dropped: drops
                    .then(|| metrics::counter!(DROPPED.name, "reason" => "route", "route" => name)),
            }
        };
        routes.all().map(of_route).collect()
    }

    /// The fate of one event is final: it is stored, or dropped.
    pub(super) fn count(&self) {
        self.routed.increment(1);
        if let Some(dropped) = &self.dropped {
            dropped.increment(1);
        }
    }
}
