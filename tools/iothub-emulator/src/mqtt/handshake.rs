//! CONNECT: who is it, and may they in?

use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::{DeviceTopic, HubIdentity, SasError, SasToken, Username, UsernameError};
use rumqttc::mqttbytes::v4::{Connect, ConnectAuth, LastWill};

use crate::clock;
use crate::hub::Hub;
use crate::options::UndocumentedTopics;

/// Longest time that IoT Hub waits for a packet, whatever the client's keep-alive says (device guide, MQTT support).
const LONGEST_SILENCE: Duration = Duration::from_secs(1767);
/// Bound of a token's life, so that no clock arithmetic overflows.
const LONGEST_TOKEN: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// A client that may in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) identity: HubIdentity,
    pub(super) clean_session: bool,
    /// How long the client may say nothing.
    pub(super) silence: Duration,
    /// What is left of the token's life.
    pub(super) token_life: Duration,
    pub(super) will: Option<Will>,
    /// The DTDL model a plug-and-play device names; it goes into its messages.
    pub(super) model_id: Option<String>,
}

/// Sent as telemetry when the connection ends without DISCONNECT.
#[derive(Debug, Clone)]
pub(super) struct Will {
    /// The encoded property bag of its topic.
    pub(super) bag: String,
    pub(super) body: Bytes,
    pub(super) retain: bool,
}

/// Why CONNECT is answered with return code 5. IoT Hub gives no other (azure-iot-sdk-c, connection_and_messaging_reliability.md),
/// so the reason is for the emulator's log only.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a fault refuses connections")]
    Fault,
    #[error("no user name or no password; X.509 identities are not modelled")]
    NoCredentials,
    #[error(transparent)]
    Username(#[from] UsernameError),
    #[error("the user name is for hub {found}, this is {own}")]
    Hub { found: String, own: String },
    #[error("client id {client_id} does not fit the user name of {identity}")]
    ClientId {
        client_id: String,
        identity: HubIdentity,
    },
    #[error("{0} is not registered")]
    Unknown(HubIdentity),
    #[error("{0}: {1}")]
    Token(HubIdentity, SasError),
    #[error("the will's topic {0} is not the telemetry topic of this identity")]
    Will(String),
}

/// Checks a CONNECT packet against the registry.
pub(super) fn admit(hub: &Hub, connect: Connect) -> Result<Admitted, Refusal> {
    if hub.faults.refuses(&connect.client_id) {
        return Err(Refusal::Fault);
    }
    let ConnectAuth::UsernamePassword { username, password } = &connect.auth else {
        return Err(Refusal::NoCredentials);
    };
    let username = Username::parse(username)?;
    let own = &hub.options.host_name;
    if !username.hub.eq_ignore_ascii_case(own) {
        return Err(Refusal::Hub {
            found: username.hub,
            own: own.clone(),
        });
    }
    let identity = username.identity;
    if connect.client_id != identity.client_id() {
        return Err(Refusal::ClientId {
            client_id: connect.client_id,
            identity,
        });
    }
    let Some(key) = hub.key_of(&identity) else {
        return Err(Refusal::Unknown(identity));
    };
    let now = clock::unix_seconds();
    // The token names the hub as the user name does.
    let resource = identity.sas_resource(&username.hub);
    let token = std::str::from_utf8(password)
        .map_err(|_| SasError::Shape)
        .and_then(|text| {
            let token = SasToken::parse(text)?;
            token.verify(&key, &resource, now)?;
            Ok(token)
        });
    let token = match token {
        Ok(token) => token,
        Err(error) => return Err(Refusal::Token(identity, error)),
    };
    let will = match connect.last_will {
        Some(will) => read_will(&identity, will, hub.options.undocumented_topics)?,
        None => None,
    };
    Ok(Admitted {
        clean_session: connect.clean_session,
        silence: silence(connect.keep_alive),
        token_life: Duration::from_secs(token.expiry().saturating_sub(now)).min(LONGEST_TOKEN),
        will,
        model_id: username.model_id,
        identity,
    })
}

fn read_will(
    identity: &HubIdentity,
    will: LastWill,
    undocumented: UndocumentedTopics,
) -> Result<Option<Will>, Refusal> {
    match DeviceTopic::parse(&will.topic) {
        Ok(DeviceTopic::Telemetry {
            device,
            module,
            bag,
        }) if device == identity.device() && module == identity.module() => Ok(Some(Will {
            bag: bag.to_owned(),
            body: will.message,
            retain: will.retain,
        })),
        _ => match undocumented {
            UndocumentedTopics::Drop => Err(Refusal::Will(will.topic)),
            UndocumentedTopics::Refuse => Ok(None),
        },
    }
}

/// 1.5 times the keep-alive; without one the longest time of all.
fn silence(keep_alive: u16) -> Duration {
    match keep_alive {
        0 => LONGEST_SILENCE,
        seconds => (Duration::from_secs(u64::from(seconds)) * 3 / 2).min(LONGEST_SILENCE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_one_and_a_half_keep_alives_up_to_the_cap() {
        assert_eq!(silence(60), Duration::from_secs(90));
        assert_eq!(silence(1), Duration::from_millis(1500));
        assert_eq!(silence(1177), Duration::from_millis(1_765_500));
        assert_eq!(silence(1200), LONGEST_SILENCE);
        assert_eq!(silence(0), LONGEST_SILENCE);
    }
}
