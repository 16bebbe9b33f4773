//! The emulator from outside: what devices see on MQTT and what the service side sees on HTTP. One program, because each
//! would link everything again.

mod cloud_messages;
mod connect;
mod faults;
mod methods;
mod process;
mod support;
mod telemetry;
mod twins;
