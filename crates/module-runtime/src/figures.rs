//! What a module counts and shows: every figure is declared once, with its name and its help text.

/// How a figure behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// Only grows, from 0 at the start of the process; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A figure at /metrics. Declare a module's with [`crate::figures!`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its whole name: `fieldgate_<module>_<what>_<unit>[_total]`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: FigureKind,
    /// One line for people: the HELP of the Prometheus format.
    pub help: &'static str,
}

impl Figure {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: FigureKind::Counter,
            help,
        }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: FigureKind::Gauge,
            help,
        }
    }

    /// A histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: FigureKind::Histogram,
            help,
        }
    }
}

/// Declares constants of type [`Figure`], and `ALL` of them:
///
/// ```
/// module_runtime::figures! {
///     EVENTS = counter "fieldgate_example_events_total", "Events made";
///     WAITING = gauge "fieldgate_example_waiting_events", "Events that wait";
/// }
/// module_runtime::describe(ALL);
/// metrics::counter!(EVENTS.name).increment(1);
/// # let _ = WAITING;
/// ```
#[macro_export]
macro_rules! figures {
    ($($constant:ident = $kind:ident $name:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub(crate) const $constant: $crate::Figure = $crate::Figure::$kind($name, $help);
        )+
        /// Every figure of this module.
        pub(crate) const ALL: &[$crate::Figure] = &[$($constant),+];
    };
}

/// Tells the recorder what the figures are, so that /metrics has their HELP lines. Call it once, before they are used.
pub fn describe(figures: &[Figure]) {
    for figure in figures {
        match figure.kind {
            FigureKind::Counter => metrics::describe_counter!(figure.name, figure.help),
            FigureKind::Gauge => metrics::describe_gauge!(figure.name, figure.help),
            FigureKind::Histogram => metrics::describe_histogram!(figure.name, figure.help),
        }
    }
}

/// The name of the figure that every module with a take-over lock has; `module` is the program's name.
#[must_use]
pub fn standby_name(module: &str) -> String {
    format!("fieldgate_{}_standby", module.replace('-', "_"))
}

/// Describes and registers [`standby_name`].
pub(crate) fn standby_gauge(module: &str) -> metrics::Gauge {
    let name = standby_name(module);
    metrics::describe_gauge!(
        name.clone(),
        "1 while this instance waits for its turn to work, 0 once it works"
    );
    metrics::gauge!(name)
}
