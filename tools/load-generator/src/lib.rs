//! Publishes numbered measurement events at a steady rate: what the long runs load the system with.
//!
//! ```text
//! schedule ─► source ─► load ─► sidecar ─► broker
//! how many    what      at most one event of a stream in a call,
//! are due     they say  repeated until the broker has confirmed it
//! ```
//!
//! An event is known by its number alone: number `n` is event `n / streams + 1` of stream `n % streams`. Whoever knows how many were
//! confirmed knows every id that must arrive, and the generator needs no buffer for what it is late with.

mod configuration;
mod figures;
mod load;
mod schedule;
mod source;

pub use configuration::Configuration;
pub use load::run;
