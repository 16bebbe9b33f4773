//! IoT Hub on the wire, for tests and demonstrations: Microsoft's unmodified device SDKs and ours connect to it over MQTT 3.1.1 with TLS.
//!
//! A test embeds it with [`Emulator::start`]; the binary `iothub-emulator` does no more than that. What it models, and on
//! what evidence, is listed in `FIDELITY.md`. Everything that is confirmed (PUBACK, HTTP 200) is in files under
//! [`Options::data`] before the confirmation leaves, and survives a kill of the process.

mod certificates;
mod clock;
mod control;
mod emulator;
mod faults;
mod hub;
mod mqtt;
mod options;
mod storage;

pub use emulator::{Emulator, Endpoints, Ports, Running, StartError};
pub use options::{Options, UndocumentedTopics};
