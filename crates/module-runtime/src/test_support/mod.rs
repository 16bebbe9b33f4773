//! What tests of this crate and of modules share: a sidecar in memory, one on a port, and a module as a process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod documented;
mod process;
mod sidecar;
mod sidecar_port;

use std::time::Duration;

pub use documented::documented_figures;
pub use process::ModuleProcess;
pub use sidecar::TestSidecar;
pub use sidecar_port::SidecarPort;

/// A condition that does not come within this time fails the test.
pub const PATIENCE: Duration = Duration::from_secs(60);
