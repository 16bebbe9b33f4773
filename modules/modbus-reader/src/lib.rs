//! Reads Modbus devices and publishes measurements.
//!
//! ```text
//! configuration ─► engine ─► one LinkTask per link ─► EventBuffer ─► Publisher ─► sidecar
//!                              Schedule  when                ▲
//!                              Parking   whether             │ rendered events
//!                              Stream    requests, decoding ─┘
//!                              Connection  one request at a time
//! ```
//!
//! `planner`, `decode`, `encode`, `scheduler` and `parking` do no I/O.

pub mod backoff;
pub mod commands;
pub mod configuration;
pub mod connection;
pub mod decode;
pub mod device_states;
pub mod encode;
pub mod engine;
pub mod event_buffer;
pub mod line_timing;
pub mod link;
pub mod link_commands;
pub mod metrics;
mod module;
pub mod parking;
pub mod planner;
pub mod publisher;
pub mod requests;
pub mod scheduler;
pub mod shared_port;
pub mod stream;

pub use module::run;
