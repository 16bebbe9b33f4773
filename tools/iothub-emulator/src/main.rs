//! IoT Hub on the wire, for tests and demonstrations.

fn main() {}
