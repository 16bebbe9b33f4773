//! What comes from the hub.

use std::sync::Arc;

use bytes::Bytes;
use iothub_protocol::message::Message;
use iothub_protocol::method::{MethodRequest, check_payload};
use rumqttc::ManualAck;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::connection::Control;
use crate::state::DisconnectReason;

/// What happened, in order. Take events promptly: the client holds back at most a few hundred, then it answers methods with 503 itself, leaves
/// cloud-to-device messages with the hub and reads the desired section again later.
#[derive(Debug)]
pub enum HubEvent {
    Connected {
        generation: u64,
    },
    Disconnected {
        reason: DisconnectReason,
    },
    /// Desired properties. `complete` says that `patch` is the whole section (after each connect, and after a notification was missed);
    /// otherwise it is a JSON merge patch to version `version - 1`. `patch` holds no `$version`.
    Desired {
        version: u64,
        patch: Value,
        complete: bool,
    },
    Method(MethodCall),
    CloudMessage(CloudMessage),
}

/// A direct method call. The hub does not tell its timeout (5 to 300 s); a call that is dropped unanswered times out there.
#[derive(Debug)]
pub struct MethodCall {
    pub name: String,
    /// `null` where the caller sent none.
    pub payload: Value,
    pub(crate) request: MethodRequest,
    pub(crate) control: mpsc::Sender<Control>,
    /// While it is held, the connection is not given up for a new token if that can wait.
    pub(crate) _unanswered: Arc<()>,
}

/// A cloud-to-device message. It returns to the hub's queue unless completed on the connection that brought it.
#[derive(Debug)]
pub struct CloudMessage {
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// System properties without a field of their own, by key (`$.to`, …).
    pub system: Vec<(String, String)>,
    pub properties: Vec<(String, String)>,
    pub body: Bytes,
    pub(crate) ack: Option<ManualAck>,
    pub(crate) control: mpsc::Sender<Control>,
}

/// Why an answer did not go out.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(
        "the connection that brought the request is gone; the hub takes no answer for it any more"
    )]
    ConnectionChanged,
    #[error("too many answers wait to be sent")]
    Busy,
    #[error("the answer cannot be sent: {0}")]
    Invalid(String),
}

impl MethodCall {
    /// Answers with a status of the caller's vocabulary (200, 404, …) and a JSON payload of at most 128 KiB. Returns at once.
    pub fn respond(self, status: i32, payload: &Value) -> Result<(), AnswerError> {
        let payload =
            serde_json::to_vec(payload).map_err(|error| AnswerError::Invalid(error.to_string()))?;
        check_payload(&payload).map_err(|error| AnswerError::Invalid(error.to_string()))?;
        let topic = self.request.response_topic(status);
        send(
            &self.control,
            Control::Publish {
                topic,
                payload: payload.into(),
            },
        )
    }
}

impl CloudMessage {
    pub(crate) fn new(
        message: Message,
        ack: Option<ManualAck>,
        control: mpsc::Sender<Control>,
    ) -> Self {
        Self {
            message_id: message.id,
            correlation_id: message.correlation_id,
            content_type: message.content_type,
            content_encoding: message.content_encoding,
            system: message.system,
            properties: message.properties,
            body: message.body,
            ack,
            control,
        }
    }

    /// Sends the PUBACK that takes the message out of the hub's queue. After the connection changed the hub delivers the message again:
    /// drop repeats by `message_id`.
    pub fn complete(self) -> Result<(), AnswerError> {
        match self.ack {
            Some(ack) => send(&self.control, Control::Ack(ack)),
            None => Ok(()),
        }
    }
}

fn send(control: &mpsc::Sender<Control>, answer: Control) -> Result<(), AnswerError> {
    control.try_send(answer).map_err(|error| match error {
        TrySendError::Closed(_) => AnswerError::ConnectionChanged,
        TrySendError::Full(_) => AnswerError::Busy,
    })
}
