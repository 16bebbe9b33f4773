//! The figures of this module. Handles are made once: looking a name up costs more than counting.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

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
    /// Registers every figure with the recorder that is installed.
    pub fn register() -> Self {
        let dropped = "fieldgate_modbus_reader_dropped_events_total";
        describe_counter!(dropped, "Events dropped, by reason");
        Self {
            events: count("events_total", "Events made"),
            points: count("points_total", "Tags in events, good and bad"),
            polls: count("polls_total", "Cycles that asked a device"),
            requests: count("requests_total", "Modbus requests sent"),
            request_errors: count(
                "request_errors_total",
                "Modbus requests without a good answer",
            ),
            overruns: count("overruns_total", "Grid points that passed without a cycle"),
            lateness: {
                let name = "fieldgate_modbus_reader_lateness_seconds";
                describe_histogram!(name, "From the grid point to the cycle's first request");
                histogram!(name)
            },
            connects: count("connects_total", "Attempts to connect a link"),
            buffer_bytes: level("buffer_bytes", "Bytes of events that wait to be published"),
            buffer_events: level("buffer_events", "Events that wait to be published"),
            dropped_full: counter!(dropped, "reason" => "buffer-full"),
            dropped_shutdown: counter!(dropped, "reason" => "shutdown"),
            published: count("published_events_total", "Events the broker confirmed"),
            publish_errors: count(
                "publish_errors_total",
                "Events whose publishing failed; they are tried again",
            ),
        }
    }
}

fn count(what: &str, description: &'static str) -> Counter {
    let name = format!("fieldgate_modbus_reader_{what}");
    describe_counter!(name.clone(), description);
    counter!(name)
}

fn level(what: &str, description: &'static str) -> Gauge {
    let name = format!("fieldgate_modbus_reader_{what}");
    describe_gauge!(name.clone(), description);
    gauge!(name)
}
