//! MQTT 3.1.1 over TLS as IoT Hub speaks it to devices and modules.
//!
//! The packets are read and written by `rumqttc`'s codec, which serves both ends of a connection.

mod cloud_delivery;
mod connection;
mod handshake;
mod listener;
mod pubacks;
mod session;
mod subscriptions;
mod telemetry;

pub(crate) use listener::listen;

use rumqttc::mqttbytes::Error as MqttError;

/// Largest packet taken: the largest message, the largest topic and what MQTT adds.
const LARGEST_PACKET: usize =
    iothub_protocol::limits::MESSAGE_BYTES + iothub_protocol::limits::TOPIC_BYTES + 16;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client said DISCONNECT")]
    Disconnected,
    #[error("the client closed the connection")]
    Closed,
    #[error("the hub ended it: {0:?}")]
    Ended(crate::hub::connections::Ended),
    #[error("no packet for {0} s, 1.5 times the keep-alive")]
    Silent(u64),
    #[error("its shared access signature has expired")]
    Expired,
    #[error("the client takes no data")]
    Stuck,
    #[error("{0} is not a documented topic of this identity")]
    Topic(String),
    #[error("protocol: {0}")]
    Protocol(String),
    #[error("MQTT: {0}")]
    Malformed(#[from] MqttError),
    #[error("message of {size} bytes; IoT Hub takes {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("network: {0}")]
    Network(std::io::Error),
    #[error("storage: {0}")]
    Storage(String),
}
