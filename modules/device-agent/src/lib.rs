//! Updates, health and factory reset of the device, from the cloud.
//!
//! ```text
//! commands ───────────────┐
//! config events ─► desired ─► agent ─► host ─► socket ─► `fieldgate agent` on the host
//!                   what is    │ asks, looks
//!                   wanted     ▼
//!                          view ─► status events
//! ```
//!
//! The module holds nothing that would have to outlive it: what runs, what was asked for and what became of it is the host's to know
//! ([`agent_protocol::Status`]). `desired`, `plan` and `view` do no I/O.

pub mod agent;
pub mod commands;
pub mod configuration;
pub mod desired;
pub mod host;
pub mod metrics;
mod module;
pub mod plan;
pub mod view;

pub use module::run;
