//! Rules on events: which way an event takes, with what priority, lifetime and properties, or that it is dropped; no I/O.
//!
//! A document has a list of [`RouteConfiguration`]; [`check`] tells everything that is wrong with it, [`Routes::compile`] makes it ready, and
//! [`Routes::route`] decides for an event. The first rule that fits takes the event; what no rule takes goes the way [`DEFAULT_ROUTE`].
//!
//! ```
//! use measurement::Envelope;
//! use routes::{Event, RouteConfiguration, Routes, Treatment};
//!
//! let rules: Vec<RouteConfiguration> = serde_json::from_str(
//!     r#"[{"name": "high", "when": {"data": {"values.pressure": {"above": 8.5}}}, "priority": 8}]"#,
//! )?;
//! let routes = Routes::compile(&rules);
//! let body = br#"{"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "data": {"values": {"pressure": 9}}}"#;
//! let envelope = Envelope::parse(body)?;
//! let decision = routes.route(&Event { topic: "telemetry", envelope: &envelope, body });
//! assert_eq!(&*decision.route.name, "high");
//! assert!(matches!(&decision.route.treatment, Treatment::Send(handling) if handling.priority == 8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Attributes that [`measurement::Envelope`] has cost nothing to look at. Other attributes cost one pass over the event, and data one pass over
//! the data; each is made at most once for an event, only when a rule is reached that needs it, and builds nothing but the values that rules
//! name (`examples/cost.rs` measures it).

mod check;
mod comparison;
mod condition;
mod configuration;
mod data_path;
mod event;
mod lookup;
mod number;
mod pattern;
mod property;
mod routes;
mod value;

pub use check::{DEEPEST, MOST_ROUTES, Surroundings, check};
pub use condition::Mismatch;
pub use configuration::{
    BatchConfiguration, Comparisons, Conditions, Encoding, Kind, Patterns, PropertyConfiguration,
    RouteConfiguration, Scalar, TakenConfiguration, Test,
};
pub use event::Event;
pub use property::{MOST_PROPERTIES, NAME_CHARS, VALUE_BYTES};
pub use routes::{
    DEFAULT_PRIORITY, DEFAULT_ROUTE, Decision, Explanation, HIGHEST_PRIORITY, Handling, PassedOver,
    Route, Routes, Treatment,
};
