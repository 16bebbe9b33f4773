//! Delivers what modules publish to Azure IoT Hub and brings commands back.

fn main() {}
