//! How an answer gets from a delivery back to its stream.

use tokio::sync::{mpsc, oneshot};

use super::delivery::Outcome;

/// An event's answer on its way to the stream it came from.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The stream's id of the event.
    pub(crate) id: String,
    pub(crate) outcome: Outcome,
}

/// The one place an answer can go. A place in the channel is reserved when the event comes in, so answering never waits.
#[derive(Debug)]
pub(crate) enum AnswerSlot {
    Stream {
        id: String,
        permit: mpsc::OwnedPermit<Answer>,
    },
    Test(oneshot::Sender<Outcome>),
}

impl AnswerSlot {
    pub(crate) fn send(self, outcome: Outcome) {
        match self {
            // After the stream broke nobody receives this, and the sidecar delivers the event again.
            Self::Stream { id, permit } => drop(permit.send(Answer { id, outcome })),
            Self::Test(sender) => {
                let _ = sender.send(outcome);
            }
        }
    }
}
