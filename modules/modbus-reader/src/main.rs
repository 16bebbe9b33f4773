//! Reads Modbus devices and publishes measurements.

fn main() {}
