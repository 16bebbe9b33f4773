//! An event that came in, and what to answer for it.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::answer::AnswerSlot;

/// What the sidecar does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done: the broker may forget it.
    Accepted,
    /// Deliver it again later.
    Retry,
    /// It can never be handled: to the dead-letter topic, if there is one.
    Rejected,
}

/// One event of a subscription. Answer it with [`Delivery::accept`], [`Delivery::retry`] or [`Delivery::reject`];
/// dropped unanswered it counts as retry. After its stream broke an answer does nothing, and the event comes again.
#[derive(Debug)]
pub struct Delivery {
    /// The topic it was published to.
    pub topic: String,
    /// The pub/sub component it came through.
    pub pubsub: String,
    /// The exact bytes that were published.
    pub body: Bytes,
    slot: Option<AnswerSlot>,
}

impl Delivery {
    pub(crate) fn new(pubsub: String, topic: String, body: Bytes, slot: AnswerSlot) -> Self {
        Self {
            topic,
            pubsub,
            body,
            slot: Some(slot),
        }
    }

    /// The event was handled: the broker may forget it.
    pub fn accept(self) {
        self.answer(Outcome::Accepted);
    }

    /// The event could not be handled now: deliver it again.
    pub fn retry(self) {
        self.answer(Outcome::Retry);
    }

    /// The event can never be handled: to the dead-letter topic with it.
    pub fn reject(self) {
        self.answer(Outcome::Rejected);
    }

    /// A delivery that a test makes, and where its answer arrives.
    pub fn for_test(
        topic: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let delivery = Self::new(
            "test".to_owned(),
            topic.into(),
            body.into(),
            AnswerSlot::Test(sender),
        );
        (delivery, receiver)
    }

    fn answer(mut self, outcome: Outcome) {
        if let Some(slot) = self.slot.take() {
            slot.send(outcome);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.send(Outcome::Retry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_delivery_is_retried() {
        let (delivery, outcome) = Delivery::for_test("telemetry", "{}");
        drop(delivery);
        assert_eq!(outcome.await.unwrap(), Outcome::Retry);
    }

    #[tokio::test]
    async fn an_answer_is_given_once() {
        let (delivery, outcome) = Delivery::for_test("telemetry", "{}");
        delivery.accept();
        assert_eq!(outcome.await.unwrap(), Outcome::Accepted);
        let (delivery, outcome) = Delivery::for_test("telemetry", "{}");
        delivery.reject();
        assert_eq!(outcome.await.unwrap(), Outcome::Rejected);
    }
}
