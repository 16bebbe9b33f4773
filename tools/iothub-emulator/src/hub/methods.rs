//! Direct methods: from the control interface to a device and back.

use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::limits::METHOD_RESPONSE_TIMEOUT;
use iothub_protocol::method::check_payload;
use iothub_protocol::{HubIdentity, MethodRequest, Subscription};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::Hub;
use super::connections::{Link, Outgoing};
use super::error::HubError;
use super::identities::peek;

/// A call as the service side makes it (IoT Hub REST, "Devices - Invoke method").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MethodCall {
    method_name: String,
    /// Absent: the device gets an empty payload.
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    response_timeout_in_seconds: Option<u64>,
    /// How long to wait for a device that is not connected; 0 if absent.
    #[serde(default)]
    connect_timeout_in_seconds: u64,
}

/// The device's answer.
#[derive(Debug, Serialize)]
pub(crate) struct MethodResult {
    status: i32,
    payload: Option<Box<RawValue>>,
}

/// Longest time to wait for a device to connect (IoT Edge, MethodRequestValidator.cs).
const LONGEST_CONNECT: u64 = 300;

impl Hub {
    /// Calls a method and waits for the answer. Dropping the future gives the call up.
    pub(crate) async fn call(
        &self,
        identity: &HubIdentity,
        call: MethodCall,
    ) -> Result<MethodResult, HubError> {
        self.store.read(|state| peek(state, identity).map(|_| ()))?;
        let payload = call.payload.map_or_else(Bytes::new, |payload| {
            Bytes::copy_from_slice(payload.get().as_bytes())
        });
        MethodRequest::check(&call.method_name, &payload)
            .map_err(|error| HubError::Invalid(error.to_string()))?;
        let deadline = response_timeout(call.response_timeout_in_seconds)?;
        if call.connect_timeout_in_seconds > LONGEST_CONNECT {
            return Err(HubError::Invalid(format!(
                "connectTimeoutInSeconds: 0 to {LONGEST_CONNECT}"
            )));
        }
        let name = identity.client_id();
        let link = self
            .wait_for_listener(
                identity,
                Duration::from_secs(call.connect_timeout_in_seconds),
            )
            .await
            .ok_or_else(|| HubError::Offline(name.clone()))?;

        let rid = format!("{:08x}", rand::random::<u32>());
        let reply = link.expect_reply(&rid);
        if !link.send(Outgoing::Method {
            name: call.method_name.clone(),
            rid: rid.clone(),
            payload,
        }) {
            link.forget_reply(&rid);
            return Err(HubError::Offline(name));
        }
        let reply = timeout(deadline, reply).await;
        link.forget_reply(&rid);
        let reply = match reply {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Err(HubError::ConnectionLost(name)),
            Err(_) => {
                return Err(HubError::NoAnswer {
                    identity: name,
                    method: call.method_name,
                    deadline,
                });
            }
        };
        check_payload(&reply.payload)
            .map_err(|error| HubError::TooLarge(format!("answer: {error}")))?;
        let payload = if reply.payload.iter().all(u8::is_ascii_whitespace) {
            None
        } else {
            let json = serde_json::from_slice(&reply.payload);
            Some(json.map_err(|source| HubError::BadAnswer {
                identity: name,
                method: call.method_name,
                source,
            })?)
        };
        Ok(MethodResult {
            status: reply.status,
            payload,
        })
    }

    /// The connection of an identity that listens for methods, now or within `patience`.
    async fn wait_for_listener(
        &self,
        identity: &HubIdentity,
        patience: Duration,
    ) -> Option<std::sync::Arc<Link>> {
        let mut changed = self.connections.changed();
        let deadline = Instant::now() + patience;
        loop {
            changed.borrow_and_update();
            let link = self
                .connections
                .get(identity)
                .filter(|link| link.listens_to(Subscription::Methods));
            if link.is_some() {
                return link;
            }
            timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
        }
    }
}

fn response_timeout(seconds: Option<u64>) -> Result<Duration, HubError> {
    let (shortest, default, longest) = METHOD_RESPONSE_TIMEOUT;
    let wanted = seconds.map_or(default, Duration::from_secs);
    if wanted < shortest || wanted > longest {
        let (shortest, longest) = (shortest.as_secs(), longest.as_secs());
        return Err(HubError::Invalid(format!(
            "responseTimeoutInSeconds: {shortest} to {longest}"
        )));
    }
    Ok(wanted)
}
