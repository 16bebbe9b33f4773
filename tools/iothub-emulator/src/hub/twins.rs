//! Device and module twins: two sections, each with a version that grows by one per change.

use bytes::Bytes;
use iothub_protocol::limits::TWIN_SECTION_BYTES;
use iothub_protocol::twin::{check_patch, merge_patch, with_version};
use iothub_protocol::{HubIdentity, Subscription, TwinDocument};
use serde_json::Value;

use super::Hub;
use super::connections::Outgoing;
use super::error::HubError;
use super::identities::{entry, peek};
use crate::storage::state::TwinSection;

impl Hub {
    /// Both sections with their versions.
    pub(crate) fn twin(&self, identity: &HubIdentity) -> Result<TwinDocument, HubError> {
        self.store.read(|state| {
            let identity = peek(state, identity)?;
            Ok(TwinDocument {
                desired: identity.desired.properties.clone(),
                desired_version: identity.desired.version,
                reported: identity.reported.properties.clone(),
                reported_version: identity.reported.version,
            })
        })
    }

    /// Applies a patch that a device reported; returns the new version of the section.
    pub(crate) fn report(&self, identity: &HubIdentity, payload: &[u8]) -> Result<u64, HubError> {
        let patch = serde_json::from_slice(payload)
            .map_err(|error| HubError::Invalid(format!("reported properties: {error}")))?;
        self.store
            .change(|state| apply(&mut entry(state, identity)?.reported, &patch, "reported"))
    }

    /// Applies a patch to the desired section and tells the device, if it is connected and listens.
    pub(crate) fn desire(
        &self,
        identity: &HubIdentity,
        patch: &Value,
    ) -> Result<TwinDocument, HubError> {
        self.store.change_and_tell(
            |state| apply(&mut entry(state, identity)?.desired, patch, "desired"),
            // Under the lock, so that notifications leave in the order of their versions.
            |version| {
                let link = self
                    .connections
                    .get(identity)
                    .filter(|link| link.listens_to(Subscription::Desired));
                if let Some(link) = link
                    && !self.faults.swallows_desired()
                {
                    let payload = Bytes::from(with_version(patch, *version).to_string());
                    link.send(Outgoing::Desired {
                        version: *version,
                        payload,
                    });
                }
            },
        )?;
        self.twin(identity)
    }
}

fn apply(section: &mut TwinSection, patch: &Value, name: &str) -> Result<u64, HubError> {
    check_patch(patch).map_err(|error| HubError::Invalid(format!("{name} properties: {error}")))?;
    merge_patch(&mut section.properties, patch);
    let size = section.properties.to_string().len();
    if size > TWIN_SECTION_BYTES {
        return Err(HubError::TooLarge(format!(
            "{name} properties would have {size} bytes; IoT Hub keeps {TWIN_SECTION_BYTES}"
        )));
    }
    section.version += 1;
    Ok(section.version)
}
