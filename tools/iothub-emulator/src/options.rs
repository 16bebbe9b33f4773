//! What a caller chooses before the emulator starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How to run one emulated hub.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the certificates, `endpoints.json`, the state and the messages; created if it is missing.
    pub data: PathBuf,
    /// The hub's name as it stands in connection strings, user names and SAS resources, e.g. `hub.example`.
    pub host_name: String,
    /// Where MQTT over TLS listens; port 0 takes a free one.
    pub mqtt_address: SocketAddr,
    /// Where the control interface (plain HTTP) listens; port 0 takes a free one.
    pub control_address: SocketAddr,
    /// More names and IP addresses for the server certificate, beside the host name, `localhost` and `127.0.0.1`.
    pub subject_alt_names: Vec<String>,
    /// What happens on a topic that IoT Hub does not document.
    pub undocumented_topics: UndocumentedTopics,
    /// How long a delivered cloud-to-device message stays locked without a PUBACK before it is sent again.
    /// IoT Hub: one minute, not configurable (iot-hub-devguide-messages-c2d).
    pub cloud_message_lock: Duration,
}

/// IoT Hub "only supports the documented topic names and filters" and does not say what it does with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum UndocumentedTopics {
    /// Drop the connection, as users of generic MQTT devices report.
    #[default]
    Drop,
    /// Answer SUBSCRIBE with 0x80 and ignore (but acknowledge) PUBLISH.
    Refuse,
}

impl Options {
    /// Loopback addresses with free ports and IoT Hub's own limits: what a test wants.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, host_name: impl Into<String>) -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            data: data.into(),
            host_name: host_name.into(),
            mqtt_address: loopback,
            control_address: loopback,
            subject_alt_names: Vec::new(),
            undocumented_topics: UndocumentedTopics::default(),
            cloud_message_lock: Duration::from_secs(60),
        }
    }
}
