//! How a connection was lost, as far as it says something about the hub.

use iothub_client::DisconnectReason;

/// How a connection was lost, or why none came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The other side ended it.
    ByHub,
    /// CONNECT was refused.
    Refused,
    /// The network, or something here.
    Network,
    /// Wanted from here.
    Planned,
}

impl From<&DisconnectReason> for Loss {
    fn from(reason: &DisconnectReason) -> Self {
        match reason {
            DisconnectReason::Renewal | DisconnectReason::Stopped => Self::Planned,
            DisconnectReason::Refused { .. } => Self::Refused,
            // A network that resets connections looks the same.
            DisconnectReason::Lost { .. } => Self::ByHub,
            DisconnectReason::WrongName { .. }
            | DisconnectReason::Untrusted { .. }
            | DisconnectReason::OutOfTime { .. }
            | DisconnectReason::Tls { .. }
            | DisconnectReason::Unreachable { .. }
            | DisconnectReason::ConnectTimeout { .. }
            | DisconnectReason::AckTimeout { .. }
            | DisconnectReason::KeepAlive { .. } => Self::Network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_hub_did_is_its_doing() {
        let host = "plant.azure-devices.net".to_owned();
        let detail = "closed by the other side".to_owned();
        let broke = DisconnectReason::Lost {
            host: host.clone(),
            detail,
        };
        assert_eq!(Loss::from(&broke), Loss::ByHub);
        assert_eq!(Loss::from(&DisconnectReason::Renewal), Loss::Planned);
        assert_eq!(
            Loss::from(&DisconnectReason::KeepAlive { host }),
            Loss::Network
        );
    }
}
