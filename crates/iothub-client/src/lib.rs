//! The device side of IoT Hub on MQTT 3.1.1 over TLS.
