//! Which streams, consumers and rights the broker has, and how it gets them.
//!
//! * [`Plan`]: the streams and the durable consumers that must exist before anything is published (docs/decisions/0007).
//! * [`rights`]: what each user of the broker may publish and subscribe to.
//! * [`NatsConfiguration`]: nats-server's configuration file with these users.
//! * [`save`]: a stream in a file, for a broker that has none of that name.
//! * [`reconcile`]: makes a running broker like the plan. It creates and updates, and never deletes.

mod nats_configuration;
mod plan;
mod plan_problem;
mod reconcile;
mod report;
pub mod rights;
mod saved;
mod server_api;
mod setup_error;
pub mod units;

pub use nats_configuration::{Cluster, Login, NatsConfiguration, Text, User, nkey_variable};
pub use plan::{
    ACK_WAIT, ConsumerPlan, DUPLICATE_WINDOW, EVENT_TOPICS, EVENTS_STREAM, KEPT_STREAM,
    KEPT_TOPICS, Keep, MAX_ACK_PENDING, Plan, StreamLimits, StreamPlan, durable_name,
};
pub use plan_problem::{PlanError, PlanProblem};
pub use reconcile::{Missing, reconcile, reconcile_with, remove_consumer};
pub use report::{ConsumerState, Report, StreamState, Update};
pub use rights::{SETUP_USER, inbox_prefix};
pub use saved::save;
pub use setup_error::SetupError;
