//! Reads Modbus devices and publishes measurements.
pub mod configuration;
pub mod decode;
pub mod encode;
pub mod line_timing;
pub mod planner;
pub mod requests;
