//! Hands what comes from the hub to those who work on it; never waits for any of them for long.

use std::sync::Arc;
use std::time::Duration;

use iothub_client::{CloudMessage as HubMessage, HubEvent, MethodCall};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cloud_message::CloudMessage;
use crate::desired::Desired;
use crate::methods::Methods;

/// Method calls being answered, waiting ones included.
const CALLS: usize = 64;

/// Where the events go.
#[derive(Debug)]
pub struct Targets {
    /// Direct methods.
    pub methods: Arc<Methods>,
    /// Changes of the desired properties.
    pub desired: mpsc::Sender<Desired>,
    /// Cloud-to-device messages.
    pub commands: mpsc::Sender<CloudMessage>,
}

/// Methods that run at shutdown have this long to finish.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Dispatches until `shutdown` or until the client ends.
pub async fn run(
    mut events: mpsc::Receiver<HubEvent>,
    targets: Targets,
    shutdown: CancellationToken,
) {
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => {
                // A caller of one that takes longer sees its time-out.
                let _ = tokio::time::timeout(LAST_CALLS, async { while calls.join_next().await.is_some() {} }).await;
                return;
            }
            Some(_) = calls.join_next() => {}
            event = events.recv() => match event {
                None => return,
                // The client logs these, and its state is watched.
                Some(HubEvent::Connected { .. } | HubEvent::Disconnected { .. }) => {}
                Some(HubEvent::Desired { version, patch, complete }) => {
                    // Its receiver takes changes at any time, so this is no wait.
                    if targets.desired.send(Desired::new(version, complete, patch)).await.is_err() {
                        return;
                    }
                }
                Some(HubEvent::Method(call)) if calls.len() >= CALLS => {
                    answer(call, 429, &json!({"error": {"code": "busy", "message": "too many calls are waiting; call again later"}}));
                }
                Some(HubEvent::Method(call)) => {
                    let methods = Arc::clone(&targets.methods);
                    calls.spawn(async move {
                        let reply = methods.answer(&call.name, &call.payload).await;
                        answer(call, i32::from(reply.status), &reply.payload);
                    });
                }
                Some(HubEvent::CloudMessage(message)) => {
                    if targets.commands.try_send(taken(message)).is_err() {
                        tracing::warn!("too many cloud-to-device messages wait for the broker; the hub keeps this one and delivers it again");
                    }
                }
            },
        }
    }
}

fn answer(call: MethodCall, status: i32, payload: &serde_json::Value) {
    let name = call.name.clone();
    if let Err(error) = call.respond(status, payload) {
        tracing::warn!(method = name, status, %error, "a direct method could not be answered");
    }
}

fn taken(message: HubMessage) -> CloudMessage {
    CloudMessage {
        message_id: message.message_id.clone(),
        properties: message.properties.clone(),
        body: message.body.clone(),
        complete: Box::new(move || {
            if let Err(error) = message.complete() {
                tracing::info!(%error, "a cloud-to-device message was handed on but not completed; the hub delivers it again");
            }
        }),
    }
}
