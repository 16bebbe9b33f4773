//! Reads Modbus devices and publishes measurements.
//!
//! ```text
//! configuration ─► engine ─► one LinkTask per link ─► EventBuffer ─► Publisher ─► sidecar
//!                              Schedule  when                ▲
//!                              Parking   whether             │ rendered events
//!                              Stream    requests, decoding ─┘
//!                              Connection  one request at a time: tokio-modbus on TCP, RtuLine on a serial line
//! ```
//!
//! `planner`, `decode`, `encode`, `scheduler`, `parking`, `quarantine` and `rtu_frame` do no I/O.

pub mod backoff;
pub mod call_error;
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
pub mod quarantine;
pub mod query;
pub mod requests;
pub mod rtu_frame;
pub mod rtu_line;
pub mod scheduler;
pub mod stream;

pub use module::run;
