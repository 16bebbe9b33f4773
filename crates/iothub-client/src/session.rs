//! One connection generation as its users see it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::limits::{PACKET_BYTES, TOPIC_BYTES};
use iothub_protocol::{DeviceTopic, HubIdentity, Message, MessageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::connection::Control;

/// Sends on one connection. When that ends, the session is dead for good: take the next one from [`crate::Client::session`].
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    generation: u64,
    topic_prefix: String,
    window: Arc<Semaphore>,
    publishes: mpsc::Sender<Outgoing>,
    control: mpsc::Sender<Control>,
}

/// A message on its way to the wire. Dropping it fails its delivery and frees its place in the window.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
    pub(crate) ticket: Ticket,
}

/// What is left of a message once it was written: who waits, and its place in the window.
#[derive(Debug)]
pub(crate) struct Ticket {
    acknowledged: oneshot::Sender<()>,
    _place: OwnedSemaphorePermit,
}

impl Ticket {
    pub(crate) fn acknowledge(self) {
        // Nobody waits any more: that is the waiter's business.
        let _ = self.acknowledged.send(());
    }
}

/// The other ends of a session, held by the connection.
#[derive(Debug)]
pub(crate) struct SessionEnd {
    pub(crate) publishes: mpsc::Receiver<Outgoing>,
    pub(crate) control: mpsc::Receiver<Control>,
    window: Arc<Semaphore>,
}

/// Why a message was not sent, or not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection ended before the PUBACK, or intake stopped for a planned renewal. The hub may or may not have the message: send it
    /// again, in order, on the next session.
    #[error("the connection to IoT Hub ended before the message was acknowledged")]
    ConnectionLost,
    /// Never sent: no later try will do better.
    #[error("message has {size} bytes; IoT Hub takes {limit}")]
    TooLarge { size: usize, limit: usize },
    /// Never sent: no later try will do better.
    #[error(transparent)]
    Invalid(MessageError),
}

impl SendError {
    /// Whether the message should be sent again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::ConnectionLost)
    }
}

impl From<MessageError> for SendError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            other => Self::Invalid(other),
        }
    }
}

impl Session {
    pub(crate) fn new(generation: u64, identity: &HubIdentity, window: u16) -> (Self, SessionEnd) {
        let places = usize::from(window);
        let window = Arc::new(Semaphore::new(places));
        // A message holds its place while it is in this channel, so the channel always has room for it.
        let (publishes, publishes_end) = mpsc::channel(places);
        let (control, control_end) = mpsc::channel(CONTROL);
        let topic_prefix = DeviceTopic::telemetry(identity, "").to_string();
        let inner = Inner {
            generation,
            topic_prefix,
            window: window.clone(),
            publishes,
            control,
        };
        (
            Self {
                inner: Arc::new(inner),
            },
            SessionEnd {
                publishes: publishes_end,
                control: control_end,
                window,
            },
        )
    }

    /// Counts connections from 1 since the client's start.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Whether the session still takes messages.
    pub fn is_live(&self) -> bool {
        !self.inner.window.is_closed()
    }

    /// Returns when the session takes no messages any more. Cancel safe.
    pub async fn ended(&self) {
        self.inner.publishes.closed().await;
    }

    /// Hands a message to the connection, QoS 1, and returns once it has a place in the window; the returned [`Delivery`] resolves on PUBACK.
    /// Messages of consecutive calls go out in the order of the calls.
    ///
    /// Cancel safe: a call that is dropped before it returned has sent nothing. Dropping the [`Delivery`] does not recall the message.
    pub async fn publish(&self, message: Message) -> Result<Delivery, SendError> {
        message.check()?;
        let mut topic = String::with_capacity(self.inner.topic_prefix.len() + 256);
        topic.push_str(&self.inner.topic_prefix);
        message.append_bag(&mut topic);
        if topic.len() > TOPIC_BYTES {
            return Err(SendError::Invalid(MessageError::Topic(topic.len())));
        }
        // The MQTT library would end the connection over a packet that is too large.
        let size = topic.len() + message.body.len() + PACKET_HEADER;
        if size > PACKET_BYTES {
            return Err(SendError::TooLarge {
                size,
                limit: PACKET_BYTES,
            });
        }
        let place = self
            .inner
            .window
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| SendError::ConnectionLost)?;
        let (acknowledged, receiver) = oneshot::channel();
        let ticket = Ticket {
            acknowledged,
            _place: place,
        };
        let outgoing = Outgoing {
            topic,
            body: message.body,
            ticket,
        };
        // There is room (see `new`), so a refusal means that the connection ended.
        self.inner
            .publishes
            .try_send(outgoing)
            .map_err(|_| SendError::ConnectionLost)?;
        Ok(Delivery { receiver })
    }

    /// Ends this connection as one on which no PUBACK came for `waited` ([`crate::DisconnectReason::AckTimeout`]): everything in flight fails,
    /// and the client connects anew. For callers that know sooner than `puback_timeout` that the link is dead.
    ///
    /// Does nothing when the session has ended. Should more than a hundred answers and requests wait for the connection, it may not be
    /// heard: ask again while the session is live.
    pub fn give_up(&self, waited: Duration) {
        let _ = self.inner.control.try_send(Control::GiveUp { waited });
    }

    pub(crate) async fn control(&self, control: Control) -> Result<(), SendError> {
        self.inner
            .control
            .send(control)
            .await
            .map_err(|_| SendError::ConnectionLost)
    }

    pub(crate) fn control_sender(&self) -> mpsc::Sender<Control> {
        self.inner.control.clone()
    }
}

/// Answers, acknowledgements and twin requests that may wait for the connection.
const CONTROL: usize = 128;
/// Fixed header, length of the topic and packet id (MQTT 3.1.1, section 3.3).
const PACKET_HEADER: usize = 9;

impl SessionEnd {
    /// No more messages: those who wait for a place get [`SendError::ConnectionLost`], what is in the channel stays there.
    pub(crate) fn stop_intake(&mut self) {
        self.window.close();
        self.publishes.close();
    }

    /// Ends the session; everything that still waits in it fails.
    pub(crate) async fn end(mut self) {
        self.stop_intake();
        self.control.close();
        // A sender may be between taking its slot and filling it: only `None` says that nothing can be left behind.
        while self.publishes.recv().await.is_some() {}
        while self.control.recv().await.is_some() {}
    }
}

/// Resolves when the hub acknowledged the message, or with [`SendError::ConnectionLost`] when the connection ended before.
#[derive(Debug)]
#[must_use = "the message counts as delivered only when this resolves to Ok"]
pub struct Delivery {
    receiver: oneshot::Receiver<()>,
}

impl Future for Delivery {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(context)
            .map_err(|_| SendError::ConnectionLost)
    }
}
