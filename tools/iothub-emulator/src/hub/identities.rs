//! The identity registry and the MQTT sessions that belong to identities.

use iothub_protocol::{ConnectionString, HubIdentity, SharedAccessKey};
use serde::Serialize;

use super::Hub;
use super::error::HubError;
use crate::clock;
use crate::storage::state::{Identity, Session, State};

/// Bytes of a generated key, as many as IoT Hub's have.
const KEY_BYTES: usize = 32;

/// An identity as `PUT /devices/{id}` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registered {
    device_id: String,
    module_id: Option<String>,
    primary_key: String,
    connection_string: String,
}

/// An identity as `GET /devices` lists it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    device_id: String,
    module_id: Option<String>,
    connected: bool,
    /// RFC 3339, of the present connection.
    since: Option<String>,
    counts: Counts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// Device-to-cloud messages recorded, ever.
    messages: u64,
    /// Connections accepted since the emulator started.
    connections: u64,
    /// Cloud-to-device messages that are not completed.
    cloud_messages: usize,
}

impl Hub {
    /// Registers an identity, or gives it another key. Without a key an existing identity keeps the one it has.
    pub(crate) fn register(
        &self,
        identity: &HubIdentity,
        primary_key: Option<&str>,
    ) -> Result<Registered, HubError> {
        let given = primary_key
            .map(SharedAccessKey::from_base64)
            .transpose()
            .map_err(|error| HubError::Invalid(error.to_string()))?;
        let fresh = SharedAccessKey::from_bytes(&rand::random::<[u8; KEY_BYTES]>())
            .map_err(|error| HubError::Invalid(error.to_string()))?;
        let name = identity.client_id();
        let stored = self.store.change(|state| {
            if identity.module().is_some() && !state.identities.contains_key(identity.device()) {
                return Err(HubError::UnknownDevice(identity.device().to_owned()));
            }
            let entry = state
                .identities
                .entry(name)
                .or_insert_with(|| Identity::new(fresh.to_base64()));
            if let Some(given) = given {
                entry.primary_key = given.to_base64();
            }
            Ok(entry.primary_key.clone())
        })?;
        let key = SharedAccessKey::from_base64(&stored)
            .map_err(|error| HubError::Invalid(error.to_string()))?;
        let connection_string = ConnectionString {
            host_name: self.options.host_name.clone(),
            identity: identity.clone(),
            key,
            gateway_host_name: None,
        };
        Ok(Registered {
            device_id: identity.device().to_owned(),
            module_id: identity.module().map(str::to_owned),
            primary_key: stored,
            connection_string: connection_string.reveal(),
        })
    }

    /// Every identity, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let now = clock::unix_microseconds();
        let identities = self.store.read(|state| {
            let waiting = |identity: &Identity| {
                identity
                    .cloud_messages
                    .iter()
                    .filter(|message| message.expires_us > now)
                    .count()
            };
            state
                .identities
                .iter()
                .map(|(name, identity)| (name.clone(), waiting(identity)))
                .collect::<Vec<_>>()
        });
        let listed = identities.into_iter().filter_map(|(name, cloud_messages)| {
            let identity = HubIdentity::from_client_id(&name).ok()?;
            let link = self.connections.get(&identity);
            Some(Listed {
                device_id: identity.device().to_owned(),
                module_id: identity.module().map(str::to_owned),
                connected: link.is_some(),
                since: link.map(|link| clock::rfc3339(link.since_us)),
                counts: Counts {
                    messages: self.messages.count_of(&name),
                    connections: self.connections.count_of(&identity),
                    cloud_messages,
                },
            })
        });
        listed.collect()
    }

    /// The key a token of this identity must be made with.
    pub(crate) fn key_of(&self, identity: &HubIdentity) -> Option<SharedAccessKey> {
        let name = identity.client_id();
        let stored = self.store.read(|state| {
            state
                .identities
                .get(&name)
                .map(|identity| identity.primary_key.clone())
        })?;
        SharedAccessKey::from_base64(&stored).ok()
    }

    /// The session kept for an identity.
    pub(crate) fn session_of(&self, identity: &HubIdentity) -> Option<Session> {
        let name = identity.client_id();
        self.store.read(|state| {
            state
                .identities
                .get(&name)
                .and_then(|identity| identity.session.clone())
        })
    }

    /// Keeps (or forgets) the session of an identity; written only if it differs.
    pub(crate) fn keep_session(
        &self,
        identity: &HubIdentity,
        session: Option<&Session>,
    ) -> Result<(), HubError> {
        if self.session_of(identity).as_ref() == session {
            return Ok(());
        }
        self.store.change(|state| {
            entry(state, identity)?.session = session.cloned();
            Ok(())
        })
    }
}

/// The entry of an identity, to change it.
pub(super) fn entry<'a>(
    state: &'a mut State,
    identity: &HubIdentity,
) -> Result<&'a mut Identity, HubError> {
    state
        .identities
        .get_mut(&identity.client_id())
        .ok_or_else(|| unknown(identity))
}

/// The entry of an identity, to look at it.
pub(super) fn peek<'a>(state: &'a State, identity: &HubIdentity) -> Result<&'a Identity, HubError> {
    state
        .identities
        .get(&identity.client_id())
        .ok_or_else(|| unknown(identity))
}

fn unknown(identity: &HubIdentity) -> HubError {
    match identity.module() {
        None => HubError::UnknownDevice(identity.device().to_owned()),
        Some(_) => HubError::UnknownModule(identity.client_id()),
    }
}
