//! One streaming subscription, kept up for as long as somebody receives.

use std::time::Duration;

use bytes::Bytes;
use dapr::dapr::proto::runtime::v1::subscribe_topic_events_request_alpha1::SubscribeTopicEventsRequestType as RequestType;
use dapr::dapr::proto::runtime::v1::subscribe_topic_events_response_alpha1::SubscribeTopicEventsResponseType as ResponseType;
use dapr::dapr::proto::runtime::v1::topic_event_response::TopicEventResponseStatus;
use dapr::dapr::proto::runtime::v1::{
    SubscribeTopicEventsRequestAlpha1, SubscribeTopicEventsRequestInitialAlpha1,
    SubscribeTopicEventsRequestProcessedAlpha1, SubscribeTopicEventsResponseAlpha1,
    TopicEventResponse,
};
use futures_util::{Stream, StreamExt, stream};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Streaming;

use super::answer::{Answer, AnswerSlot};
use super::dapr::{GrpcTarget, deadline, raw_payload};
use super::{Delivery, Outcome, SidecarError, Subscription};

/// The broker may have to make a consumer first.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(30);
/// How long the answers of what is still in the module's hands are waited for once nobody receives any more.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// daprd takes the end of our side for the end of every event it still works on, also of those whose answer just came in.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A stream that held this long was a good one: the waits start over.
const PROVEN: Duration = Duration::from_secs(10);

/// Starts the subscription's task. The task ends when the receiver is dropped.
pub(crate) fn start(target: GrpcTarget, subscription: Subscription) -> mpsc::Receiver<Delivery> {
    let (sender, receiver) = mpsc::channel(subscription.buffer.max(1));
    tokio::spawn(run(target, subscription, sender));
    receiver
}

async fn run(target: GrpcTarget, subscription: Subscription, sender: mpsc::Sender<Delivery>) {
    let Subscription { pubsub, topic, .. } = &subscription;
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let outcome = tokio::select! {
            // The stream itself notices a dropped receiver, and drains.
            outcome = stream_once(&target, &subscription, &sender) => outcome,
            () = closed_and_drained(&sender) => return,
        };
        let reason = match outcome {
            Ok(End::NobodyReceives) => return,
            Ok(End::ClosedBySidecar) => "the sidecar closed the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        if began.elapsed() > PROVEN {
            wait = FIRST_WAIT;
        }
        let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
        tracing::warn!(%pubsub, %topic, reason, again_in = ?jittered, "subscription lost; subscribing again");
        wait = (wait * 2).min(LONGEST_WAIT);
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(jittered) => {}
        }
    }
}

/// A bound for a receiver that is gone while the stream is still being set up.
async fn closed_and_drained(sender: &mpsc::Sender<Delivery>) {
    sender.closed().await;
    tokio::time::sleep(DRAIN_DEADLINE * 2).await;
}

enum End {
    ClosedBySidecar,
    NobodyReceives,
}

async fn stream_once(
    target: &GrpcTarget,
    subscription: &Subscription,
    sender: &mpsc::Sender<Delivery>,
) -> Result<End, SidecarError> {
    let Subscription { pubsub, topic, .. } = subscription;
    // Its capacity is the number of events without an answer: each reserves its place when it comes in.
    let (answers, outgoing) = mpsc::channel(subscription.buffer.max(1));
    let request = target.request(requests(subscription, outgoing), None);
    let operation = format!("the subscription to {pubsub}/{topic}");
    let mut client = GrpcTarget::client(target.connect());
    let call = Box::pin(client.subscribe_topic_events_alpha1(request));
    let mut events = deadline(SUBSCRIBE_DEADLINE, &operation, call)
        .await?
        .into_inner();

    loop {
        let permit = tokio::select! {
            () = sender.closed() => break,
            permit = answers.clone().reserve_owned() => match permit {
                Ok(permit) => permit,
                // The request side is gone: the stream broke.
                Err(_) => return Ok(End::ClosedBySidecar),
            },
        };
        let message = tokio::select! {
            () = sender.closed() => break,
            message = events.message() => message,
        };
        let message = message
            .map_err(|status| SidecarError::from_status(&status, &operation, SUBSCRIBE_DEADLINE))?;
        let event = match message {
            None => return Ok(End::ClosedBySidecar),
            Some(message) => match message.subscribe_topic_events_response_type {
                Some(ResponseType::EventMessage(event)) => event,
                Some(ResponseType::InitialResponse(_)) => {
                    tracing::info!(%pubsub, %topic, "subscribed");
                    continue;
                }
                None => continue,
            },
        };
        let slot = AnswerSlot::Stream {
            id: event.id,
            permit,
        };
        let delivery = Delivery::new(
            event.pubsub_name,
            event.topic,
            Bytes::from(event.data),
            slot,
        );
        // Full only while deliveries of a stream that broke are still in the channel.
        if sender.send(delivery).await.is_err() {
            break;
        }
    }
    // The request side ends once the last delivery was answered, and then the sidecar ends the stream.
    drop(answers);
    drain(events).await;
    Ok(End::NobodyReceives)
}

/// Keeps the stream up so that the last answers get through. What comes in meanwhile stays unanswered and comes again.
async fn drain(mut events: Streaming<SubscribeTopicEventsResponseAlpha1>) {
    let rest = async { while let Ok(Some(_)) = events.message().await {} };
    let _ = tokio::time::timeout(DRAIN_DEADLINE, rest).await;
}

/// What goes to the sidecar: what to subscribe to, then the answers.
fn requests(
    subscription: &Subscription,
    answers: mpsc::Receiver<Answer>,
) -> impl Stream<Item = SubscribeTopicEventsRequestAlpha1> + Send + 'static {
    let initial = SubscribeTopicEventsRequestInitialAlpha1 {
        pubsub_name: subscription.pubsub.clone(),
        topic: subscription.topic.clone(),
        metadata: raw_payload(),
        dead_letter_topic: subscription.dead_letter.clone(),
    };
    let answers = stream::unfold(answers, async |mut answers| {
        let Some(answer) = answers.recv().await else {
            tokio::time::sleep(LAST_ANSWERS).await;
            return None;
        };
        Some((RequestType::EventProcessed(processed(answer)), answers))
    });
    stream::once(std::future::ready(RequestType::InitialRequest(initial)))
        .chain(answers)
        .map(|request| SubscribeTopicEventsRequestAlpha1 {
            subscribe_topic_events_request_type: Some(request),
        })
}

fn processed(answer: Answer) -> SubscribeTopicEventsRequestProcessedAlpha1 {
    let status = match answer.outcome {
        Outcome::Accepted => TopicEventResponseStatus::Success,
        Outcome::Retry => TopicEventResponseStatus::Retry,
        Outcome::Rejected => TopicEventResponseStatus::Drop,
    };
    SubscribeTopicEventsRequestProcessedAlpha1 {
        id: answer.id,
        status: Some(TopicEventResponse {
            status: status.into(),
        }),
    }
}
