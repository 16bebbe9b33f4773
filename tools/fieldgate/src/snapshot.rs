//! What the live view and the plain lines show: the state of the system, once a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::evidence::{DeviceView, Verdict};
use crate::metrics::Samples;
use crate::system::System;

const SCRAPE_DEADLINE: Duration = Duration::from_millis(400);

/// One moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) running: Duration,
    pub(crate) events_per_second: f64,
    pub(crate) planned_events_per_second: f64,
    pub(crate) verdict: Verdict,
    /// Accepted by the broker and not at the hub yet.
    pub(crate) outstanding: u64,
    pub(crate) queue_depth: Option<f64>,
    pub(crate) queue_age_s: Option<f64>,
    pub(crate) hub_connected: Option<bool>,
    pub(crate) devices: BTreeMap<String, DeviceView>,
    /// Name, running, restarts.
    pub(crate) processes: Vec<(&'static str, bool, u32)>,
}

/// Takes snapshots and turns counts into rates.
#[derive(Debug)]
pub(crate) struct Observer {
    started: Instant,
    last: (Instant, u64),
}

impl Observer {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last: (now, 0),
        }
    }

    pub(crate) async fn look(&mut self, system: &System) -> Snapshot {
        let scraped = system
            .http
            .get(&system.hub_metrics_url(), SCRAPE_DEADLINE)
            .await
            .ok();
        let samples = scraped.map(|text| Samples::parse(&String::from_utf8_lossy(&text)));
        let metric = |name| samples.as_ref().and_then(|samples| samples.sum(name));
        let (verdict, outstanding, devices) = {
            let checker = system.checker.lock();
            (checker.verdict(), checker.outstanding(), checker.devices())
        };
        let now = Instant::now();
        let seconds = (now - self.last.0).as_secs_f64().max(0.001);
        let events_per_second = (verdict.events_delivered - self.last.1) as f64 / seconds;
        self.last = (now, verdict.events_delivered);
        Snapshot {
            running: now - self.started,
            events_per_second,
            planned_events_per_second: system.plant.events_per_second(),
            verdict,
            outstanding,
            queue_depth: metric("fieldgate_iothub_module_queued_events"),
            queue_age_s: metric("fieldgate_iothub_module_queue_oldest_age_seconds"),
            hub_connected: metric("fieldgate_iothub_module_connected").map(|value| value > 0.0),
            devices,
            processes: system
                .processes
                .all()
                .iter()
                .map(|process| {
                    let state = process.state();
                    (process.name(), state.pid.is_some(), state.restarts)
                })
                .collect(),
        }
    }
}

impl Snapshot {
    /// The hub as the module sees it, in a word.
    pub(crate) fn hub_state(&self) -> &'static str {
        match self.hub_connected {
            Some(true) => "connected",
            Some(false) => "disconnected",
            None => "module not answering",
        }
    }

    /// The snapshot in one line.
    pub(crate) fn line(&self) -> String {
        let number = |value: Option<f64>| {
            value.map_or_else(|| "?".to_owned(), |value| format!("{value:.0}"))
        };
        let silent: Vec<&str> = self
            .processes
            .iter()
            .filter(|(_, running, _)| !running)
            .map(|(name, _, _)| *name)
            .collect();
        let bad: Vec<String> = self
            .devices
            .iter()
            .filter_map(|(name, device)| {
                device
                    .bad
                    .as_ref()
                    .map(|reason| format!("{name}: {reason}"))
            })
            .collect();
        let mut line = format!(
            "{:5.1} events/s, {} at the hub, {} on the way, queue {} (oldest {} s), hub {}, p50 {} ms, wrong {}, duplicates {}",
            self.events_per_second,
            self.verdict.events_delivered,
            self.outstanding,
            number(self.queue_depth),
            number(self.queue_age_s),
            self.hub_state(),
            number(self.verdict.latency_ms_p50),
            self.verdict.values_wrong,
            self.verdict.duplicates,
        );
        if !silent.is_empty() {
            line.push_str(&format!("; down: {}", silent.join(", ")));
        }
        if !bad.is_empty() {
            line.push_str(&format!("; bad: {}", bad.join(", ")));
        }
        line
    }
}
