//! The emulator from outside: what devices see on MQTT and what the service side sees on HTTP. One program, because each
//! would link everything again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

mod client;
mod cloud_messages;
mod connect;
mod faults;
mod methods;
mod process;
mod support;
mod telemetry;
mod throughput;
mod twins;
