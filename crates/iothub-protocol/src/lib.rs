//! IoT Hub on the wire, free of I/O: SAS, topics, property bags, twin and method correlation, limits.
