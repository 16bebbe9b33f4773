//! Why the hub refuses a request of the control interface.

use std::time::Duration;

use crate::storage::store::StoreError;

/// One variant per answer. The codes are IoT Hub's (azure-iot-sdk-csharp ErrorCode.cs), except 502100 and 504101, which
/// that list does not have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error("device {0} is not registered; PUT /devices/{0} first")]
    UnknownDevice(String),
    #[error("module {0} is not registered; PUT it first")]
    UnknownModule(String),
    #[error("{0} is not connected, or does not listen for methods")]
    Offline(String),
    #[error("{identity} did not answer method {method} within {} s", deadline.as_secs())]
    NoAnswer {
        identity: String,
        method: String,
        deadline: Duration,
    },
    #[error("{0} lost its connection before it answered")]
    ConnectionLost(String),
    #[error("{identity} answered method {method} with something that is not JSON: {source}")]
    BadAnswer {
        identity: String,
        method: String,
        source: serde_json::Error,
    },
    #[error("{0}")]
    Invalid(String),
    #[error(
        "device {device} has {limit} cloud-to-device messages waiting, which is IoT Hub's limit; let it fetch them"
    )]
    QueueFull { device: String, limit: usize },
    #[error("{0}")]
    TooLarge(String),
    #[error("state: {0}")]
    Store(#[from] StoreError),
    #[error("messages: {0}")]
    Messages(#[from] std::io::Error),
}

impl HubError {
    /// HTTP status and IoT Hub's six-digit code.
    pub(crate) fn codes(&self) -> (u16, u32) {
        match self {
            Self::UnknownDevice(_) => (404, 404_001),
            Self::UnknownModule(_) => (404, 404_010),
            Self::Offline(_) => (404, 404_103),
            Self::NoAnswer { .. } | Self::ConnectionLost(_) => (504, 504_101),
            Self::BadAnswer { .. } => (502, 502_100),
            Self::Invalid(_) => (400, 400_004),
            Self::QueueFull { .. } => (403, 403_004),
            Self::TooLarge(_) => (413, 413_001),
            Self::Store(_) | Self::Messages(_) => (500, 500_001),
        }
    }
}
