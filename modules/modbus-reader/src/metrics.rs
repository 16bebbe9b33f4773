//! The figures of this module. Handles are made once: looking a name up costs more than counting.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

module_runtime::figures! {
    EVENTS = counter "fieldgate_modbus_reader_events_total", "Events made";
    POINTS = counter "fieldgate_modbus_reader_points_total", "Tags in events, good and bad";
    POLLS = counter "fieldgate_modbus_reader_polls_total", "Cycles that asked a device";
    REQUESTS = counter "fieldgate_modbus_reader_requests_total", "Modbus requests sent, repeated ones too";
    REQUEST_ERRORS = counter "fieldgate_modbus_reader_request_errors_total", "Modbus requests without a good answer";
    OVERRUNS = counter "fieldgate_modbus_reader_overruns_total", "Grid points that passed without a cycle";
    LATENESS = histogram "fieldgate_modbus_reader_lateness_seconds", "From the grid point to the cycle's first request";
    CONNECTS = counter "fieldgate_modbus_reader_connects_total", "Attempts to connect a link";
    BUFFER_BYTES = gauge "fieldgate_modbus_reader_buffer_bytes", "Bytes of events that wait to be published";
    BUFFER_EVENTS = gauge "fieldgate_modbus_reader_buffer_events", "Events that wait to be published";
    DROPPED = counter "fieldgate_modbus_reader_dropped_events_total", "Events dropped, by reason";
    PUBLISHED = counter "fieldgate_modbus_reader_published_events_total", "Events the broker confirmed";
    PUBLISH_ERRORS = counter "fieldgate_modbus_reader_publish_errors_total", "Events whose publishing failed; they are tried again";
}

/// Handles of every figure. Clones count into the same.
#[derive(Clone)]
pub struct Metrics {
    /// Events made.
    pub events: Counter,
    /// Tags in these events, good and bad.
    pub points: Counter,
    /// Cycles that asked a device.
    pub polls: Counter,
    /// Requests sent, repeated ones too.
    pub requests: Counter,
    /// Requests without a good answer.
    pub request_errors: Counter,
    /// Grid points that passed without a cycle.
    pub overruns: Counter,
    /// From the grid point to the first request.
    pub lateness: Histogram,
    /// Attempts to connect a link.
    pub connects: Counter,
    /// Bytes of events that wait.
    pub buffer_bytes: Gauge,
    /// Events that wait.
    pub buffer_events: Gauge,
    /// Events dropped since the buffer was full.
    pub dropped_full: Counter,
    /// Events dropped since the process had to end.
    pub dropped_shutdown: Counter,
    /// Events the broker confirmed.
    pub published: Counter,
    /// Events whose publishing failed; they are tried again.
    pub publish_errors: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Describes and registers every figure with the recorder that is installed.
    pub fn register() -> Self {
        module_runtime::describe(ALL);
        Self {
            events: counter!(EVENTS.name),
            points: counter!(POINTS.name),
            polls: counter!(POLLS.name),
            requests: counter!(REQUESTS.name),
            request_errors: counter!(REQUEST_ERRORS.name),
            overruns: counter!(OVERRUNS.name),
            lateness: histogram!(LATENESS.name),
            connects: counter!(CONNECTS.name),
            buffer_bytes: gauge!(BUFFER_BYTES.name),
            buffer_events: gauge!(BUFFER_EVENTS.name),
            dropped_full: counter!(DROPPED.name, "reason" => "buffer-full"),
            dropped_shutdown: counter!(DROPPED.name, "reason" => "shutdown"),
            published: counter!(PUBLISHED.name),
            publish_errors: counter!(PUBLISH_ERRORS.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use module_runtime::test_support::documented_figures;

    use super::ALL;

    #[test]
    fn every_figure_is_documented_and_nothing_else() {
        let standby = module_runtime::standby_name("modbus-reader");
        let names = ALL.iter().map(|figure| figure.name.to_owned());
        let names: BTreeSet<String> = names.chain([standby]).collect();
        assert_eq!(names, documented_figures("fieldgate_modbus_reader_"));
    }
}
