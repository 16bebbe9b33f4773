//! Limits of IoT Hub. Source of all: device guide, "IoT Hub quotas and throttling", unless a line says otherwise.

use std::time::Duration;

/// Largest device-to-cloud message: body, system property values, application property names and values.
pub const MESSAGE_BYTES: usize = 256 * 1024;
/// Largest cloud-to-device message.
pub const CLOUD_MESSAGE_BYTES: usize = 64 * 1024;
/// Cloud-to-device messages that may wait for one device.
pub const CLOUD_MESSAGES_PENDING: usize = 50;
/// A cloud-to-device message that was delivered but not completed returns to the queue after this time.
pub const CLOUD_MESSAGE_LOCK: Duration = Duration::from_secs(60);
/// Largest payload of a direct method, each way.
pub const METHOD_PAYLOAD_BYTES: usize = 128 * 1024;
/// Longest name of a direct method (IoT Edge hub, method request validator).
pub const METHOD_NAME_CHARS: usize = 100;
/// How long a direct method may wait for its answer: shortest, default and longest.
pub const METHOD_RESPONSE_TIMEOUT: (Duration, Duration, Duration) = (
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
);
/// Largest desired section of a twin, and largest reported section.
pub const TWIN_SECTION_BYTES: usize = 32 * 1024;
/// Deepest nesting of a twin section.
pub const TWIN_DEPTH: usize = 10;
/// Longest string value in a twin.
pub const TWIN_STRING_BYTES: usize = 4 * 1024;
/// Longest key in a twin.
pub const TWIN_KEY_BYTES: usize = 1024;
/// Largest magnitude of an integer in a twin.
pub const TWIN_INTEGER: i64 = 4_503_599_627_370_496;
/// Longest message id.
pub const MESSAGE_ID_CHARS: usize = 128;
/// Longest device or module id.
pub const ID_CHARS: usize = 128;
/// Subscriptions a device may hold.
pub const SUBSCRIPTIONS: usize = 5;
/// Largest keep-alive that still has its full effect: the hub waits 1.5 times as long, capped at 1767 s.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1177);
/// Largest MQTT packet this product sends or takes: the largest message plus a generous topic.
pub const PACKET_BYTES: usize = 300 * 1024;
/// Longest topic of MQTT 3.1.1 (a string's length is two bytes; MQTT 3.1.1, section 1.5.3).
pub const TOPIC_BYTES: usize = 65_535;
