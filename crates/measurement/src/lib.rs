//! The measurement event: values, qualities and CloudEvents attributes; no I/O.
//!
//! A measurement event is a CloudEvents 1.0 JSON document, one per device and poll group (docs of the design, 3.1):
//!
//! ```text
//! {"specversion":"1.0",
//!  "id":"{module}/{device}/{group}/{epoch}/{sequence}",
//!  "source":"/fieldgate/{appliance}/{module}",
//!  "type":"com.fieldgate.measurements.v1",
//!  "subject":"{device}/{group}",
//!  "time":"2026-11-22T15:00:00.000000Z",
//!  "partitionkey":"{device}",
//!  "sequence":"00000000000000000001",
//!  "datacontenttype":"application/json",
//!  "data":{"device":…,"group":…,"epoch":…,"sequence":1,"timestamp":…,"values":{tag: number|bool|string},"bad":{tag: reason}}}
//! ```
//!
//! Writers use [`EventTemplate`] (measurements, hot path) or [`GenericEvent`] (everything else); readers use
//! [`Envelope`] for the attributes and [`Measurements`] for the data. JSON numbers are exact for `i64`, `u64` and `f64`.

mod envelope;
mod generic;
mod identity;
mod json;
mod reading;
mod received;
mod template;

pub use envelope::{Envelope, EnvelopeError};
pub use generic::{GenericEvent, event};
pub use identity::{Epoch, NAME_RULE, StreamIdentity, event_source, valid_name};
pub use json::rfc3339_micros;
pub use reading::{BadReason, Reading, Value};
pub use received::Measurements;
pub use template::EventTemplate;

use bytes::Bytes;

/// `type` of an event that carries [`Measurements`].
pub const MEASUREMENTS_TYPE: &str = "com.fieldgate.measurements.v1";
/// `type` of a module's state.
pub const STATUS_TYPE: &str = "com.fieldgate.status.v1";
/// `type` of a configuration change.
pub const CONFIG_TYPE: &str = "com.fieldgate.config.v1";
/// `type` of a cloud-to-device message on its way to the modules.
pub const COMMAND_TYPE: &str = "com.fieldgate.command.v1";
/// `type` of an event that could not be handled, with the reason.
pub const DEAD_LETTER_TYPE: &str = "com.fieldgate.deadletter.v1";
/// Content type of every body this crate renders.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A rendered event: what is handed to the broker. A retry publishes the same value again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The CloudEvents `id`, also inside `body`; unique for ever.
    pub id: String,
    /// The whole CloudEvents JSON document.
    pub body: Bytes,
}
