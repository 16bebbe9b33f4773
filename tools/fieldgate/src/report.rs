//! The last line of standard output: one JSON object about the run.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::chaos::{ChaosReport, FAULTS};
use crate::evidence::Verdict;

/// Issue 3, item 8; what stands after `first_message_s` is additional.
#[derive(Debug, Serialize)]
pub(crate) struct DemoReport {
    events_read: u64,
    events_delivered: u64,
    missing: u64,
    duplicates: u64,
    values_checked: u64,
    values_wrong: u64,
    latency_ms_p50: Option<f64>,
    latency_ms_p99: Option<f64>,
    first_message_s: Option<f64>,
    values_bad_quality: u64,
    never_accepted: u64,
    malformed: u64,
    dead_letters: u64,
    restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    chaos: Option<ChaosOutcome>,
}

#[derive(Debug, Serialize)]
struct ChaosOutcome {
    faults: u32,
    healed: u32,
    planned: u32,
}

impl DemoReport {
    pub(crate) fn new(
        verdict: &Verdict,
        started: SystemTime,
        first_arrival: Option<SystemTime>,
        restarts: u32,
        chaos: Option<ChaosReport>,
    ) -> Self {
        Self {
            events_read: verdict.events_read,
            events_delivered: verdict.events_delivered,
            missing: verdict.missing,
            duplicates: verdict.duplicates,
            values_checked: verdict.values_checked,
            values_wrong: verdict.values_wrong,
            latency_ms_p50: verdict.latency_ms_p50,
            latency_ms_p99: verdict.latency_ms_p99,
            first_message_s: first_arrival
                .and_then(|first| first.duration_since(started).ok())
                .map(|first| rounded(first.as_secs_f64())),
            values_bad_quality: verdict.values_bad_quality,
            never_accepted: verdict.never_accepted,
            malformed: verdict.malformed,
            dead_letters: verdict.dead_letters,
            restarts,
            chaos: chaos.map(|chaos| ChaosOutcome {
                faults: chaos.faults,
                healed: chaos.healed,
                planned: FAULTS,
            }),
        }
    }
}

/// Why a run failed, a line each; none if it is good.
pub(crate) fn faults(verdict: &Verdict, chaos: Option<ChaosReport>) -> Vec<String> {
    let mut faults = Vec::new();
    if verdict.events_delivered == 0 {
        faults.push("no event arrived at the hub".to_owned());
    }
    for (count, what) in [
        (verdict.missing, "events are missing"),
        (verdict.values_wrong, "values are wrong"),
        (verdict.malformed, "messages are malformed"),
        (verdict.dead_letters, "events became dead letters"),
    ] {
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    }
    if let Some(chaos) = chaos
        && chaos.healed < FAULTS
    {
        faults.push(format!(
            "{} of {FAULTS} planned faults healed in the time of the run ({} were made)",
            chaos.healed, chaos.faults
        ));
    }
    faults
}

/// To hundredths.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// A duration in seconds, for a report.
pub(crate) fn seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Verdict {
        Verdict {
            events_read: 10,
            events_delivered: 10,
            values_checked: 100,
            latency_ms_p50: Some(12.3),
            latency_ms_p99: Some(45.6),
            ..Verdict::default()
        }
    }

    #[test]
    fn the_line_starts_with_the_keys_of_the_issue() {
        let started = SystemTime::UNIX_EPOCH;
        let report = DemoReport::new(
            &good(),
            started,
            Some(started + Duration::from_millis(2250)),
            0,
            None,
        );
        let line = serde_json::to_string(&report).unwrap();
        let start = r#"{"events_read":10,"events_delivered":10,"missing":0,"duplicates":0,"values_checked":100,"values_wrong":0,"latency_ms_p50":12.3,"latency_ms_p99":45.6,"first_message_s":2.25"#;
        assert!(line.starts_with(start), "{line}");
    }

    #[test]
    fn anything_missing_or_wrong_is_a_fault() {
        assert!(faults(&good(), None).is_empty());
        assert!(!faults(&Verdict::default(), None).is_empty());
        for spoil in [
            |verdict: &mut Verdict| verdict.missing = 1,
            |verdict: &mut Verdict| verdict.values_wrong = 1,
            |verdict: &mut Verdict| verdict.malformed = 1,
            |verdict: &mut Verdict| verdict.dead_letters = 1,
            |verdict: &mut Verdict| verdict.events_delivered = 0,
        ] {
            let mut verdict = good();
            spoil(&mut verdict);
            assert_eq!(faults(&verdict, None).len(), 1, "{verdict:?}");
        }
        let half = ChaosReport {
            faults: 3,
            healed: 3,
        };
        assert_eq!(faults(&good(), Some(half)).len(), 1);
    }
}
