//! What every module needs: Dapr, configuration, health, metrics, logs and shutdown.
//!
//! A module's `main.rs` names itself, its configuration type and its work:
//!
//! ```no_run
//! use module_runtime::{ModuleConfiguration, Problems, Runtime, module, path};
//!
//! #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Configuration {
//!     topics: Vec<String>,
//! }
//!
//! impl ModuleConfiguration for Configuration {
//!     fn check(&self, problems: &mut Problems) {
//!         if self.topics.is_empty() {
//!             problems.add(path!["topics"], "is empty; name at least one topic");
//!         }
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     module_runtime::run(module!(), async |runtime: Runtime<Configuration>| {
//!         runtime.shutdown.cancelled().await;
//!         Ok(())
//!     })
//! }
//! ```

pub mod args;
pub mod commands;
pub mod configuration;
pub mod figures;
pub mod health;
pub mod lock;
pub mod logs;
mod operation;
pub mod ops;
pub mod runtime;
mod server;
pub mod shutdown;
pub mod sidecar;
mod standby;
pub mod status;
#[cfg(test)]
mod test_client;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;

pub use args::ModuleArgs;
pub use commands::{CommandError, Commands};
pub use configuration::{
    ConfigurationError, ConfigurationWatch, Loaded, ModuleConfiguration, Problem, Problems, load,
    load_str, load_str_as_written,
};
pub use figures::{Figure, FigureKind, describe, standby_name};
pub use health::{Health, HealthFlag};
pub use runtime::{EXIT_CONFIGURATION, ModuleInfo, Runtime, run, run_with};
pub use sidecar::{
    BoxFuture, DaprSidecar, Delivery, InvokeReply, Outcome, OutgoingEvent, PublishReport, Sidecar,
    SidecarError, Subscription,
};
pub use status::StatusPublisher;
pub use tokio_util::sync::CancellationToken;
