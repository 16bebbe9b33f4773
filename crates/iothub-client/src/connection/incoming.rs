//! What the hub publishes: answers, desired properties, method calls and cloud-to-device messages.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use iothub_protocol::{DeviceTopic, HubTopic, Message, MethodError, MethodRequest, Subscription};
use rumqttc::{ManualAck, Publish, QoS};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Connection;
use super::desired::Outcome;
use crate::event::{CloudMessage, HubEvent, MethodCall};
use crate::request::{TwinAnswer, TwinQuestion};
use crate::state::DisconnectReason;

/// Twin requests without answer, by request id.
#[derive(Debug)]
pub(super) struct Questions {
    prefix: String,
    next: u64,
    open: HashMap<String, oneshot::Sender<TwinAnswer>>,
}

/// Above this many open questions those nobody waits for any more are thrown out.
const SWEEP: usize = 32;

impl Questions {
    pub(super) fn new(generation: u64) -> Self {
        // Random, so that a late answer to an earlier connection or process cannot match.
        Self {
            prefix: format!("{generation:x}-{:x}", rand::random::<u32>()),
            next: 0,
            open: HashMap::new(),
        }
    }

    fn rid(&mut self) -> String {
        self.next += 1;
        format!("{}-{:x}", self.prefix, self.next)
    }

    fn insert(&mut self, rid: String, answer: oneshot::Sender<TwinAnswer>) {
        if self.open.len() >= SWEEP {
            self.open.retain(|_, waiter| !waiter.is_closed());
        }
        self.open.insert(rid, answer);
    }
}

impl Connection<'_> {
    /// Subscribes to everything; the twin is read once all of it is confirmed.
    pub(super) fn start(&mut self) -> Result<(), DisconnectReason> {
        let identity = &self.shared.options.identity;
        let subscriptions = Subscription::all(identity);
        self.subscribing = subscriptions.len();
        // One SUBSCRIBE each, as Microsoft's SDKs do (observed). Only cloud-to-device messages need QoS 1: twin and method traffic is QoS 0 in
        // practice and has timeouts of its own.
        for subscription in subscriptions {
            let qos = if subscription == Subscription::CloudMessages {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            };
            self.client
                .try_subscribe(subscription.filter(identity), qos)
                .map_err(|error| self.refused_request(&error))?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, publish: Publish) -> Result<(), DisconnectReason> {
        let ack = self.client.prepare_ack(&publish);
        let topic = std::str::from_utf8(&publish.topic).unwrap_or_default();
        let parsed = HubTopic::parse(topic);
        if let Ok(HubTopic::CloudMessage { bag, .. }) = parsed {
            self.completable.extend(ack.as_ref().map(packet_id));
            let message = CloudMessage::new(
                Message::from_bag(bag, publish.payload),
                ack,
                self.control.clone(),
            );
            if let Err(event) = self.outbox.push(HubEvent::CloudMessage(message)) {
                // Left with the hub, which delivers it again after its lock ends or on the next connection.
                tracing::warn!(
                    "a cloud-to-device message was left with the hub, nobody takes it: {:?}",
                    summary(&event)
                );
            }
            return Ok(());
        }
        if let Some(ack) = ack {
            self.client
                .try_manual_ack(ack)
                .map_err(|error| self.refused_request(&error))?;
        }
        match parsed {
            Ok(HubTopic::TwinResponse {
                status,
                rid,
                version,
            }) => {
                let answer = TwinAnswer {
                    status,
                    version,
                    payload: publish.payload.clone(),
                };
                self.twin_answer(rid, answer)
            }
            Ok(HubTopic::Desired { version }) => {
                let outcome = self.desired.notify(&publish.payload, version);
                self.desired_outcome(outcome)
            }
            Ok(HubTopic::Method { name, rid }) => {
                self.method(MethodRequest::from_parts(name, rid, &publish.payload))
            }
            Ok(HubTopic::ModuleInput { .. } | HubTopic::CloudMessage { .. }) => Ok(()),
            Err(error) => {
                tracing::warn!("dropped what IoT Hub published: {error}");
                Ok(())
            }
        }
    }

    /// Sends the PUBACK of a cloud-to-device message. The hub may have delivered it twice under one packet id: then one PUBACK is due.
    pub(super) fn complete(&mut self, ack: ManualAck) -> Result<(), DisconnectReason> {
        if !self.completable.remove(&packet_id(&ack)) {
            return Ok(());
        }
        self.client
            .try_manual_ack(ack)
            .map_err(|error| self.refused_request(&error))
    }

    fn method(
        &mut self,
        request: Result<MethodRequest, MethodError>,
    ) -> Result<(), DisconnectReason> {
        let mut request = match request {
            Ok(request) => request,
            Err(MethodError::Payload { name, rid, source }) => {
                let detail = format!("the payload of method {name} is not JSON: {source}");
                return self.answer_method(400, &rid, &detail);
            }
            Err(error) => {
                tracing::warn!("dropped a method call: {error}");
                return Ok(());
            }
        };
        let rid = request.rid.clone();
        let payload = std::mem::take(&mut request.payload);
        let call = MethodCall {
            name: request.name.clone(),
            payload,
            request,
            control: self.control.clone(),
            _unanswered: Arc::clone(&self.unanswered),
        };
        match self.outbox.push(HubEvent::Method(call)) {
            Ok(()) => Ok(()),
            Err(_) if self.outbox.is_closed() => {
                self.answer_method(501, &rid, "this device takes no direct methods")
            }
            Err(_) => self.answer_method(503, &rid, "too many calls are waiting on the device"),
        }
    }

    fn answer_method(&self, status: i32, rid: &str, message: &str) -> Result<(), DisconnectReason> {
        let payload =
            json!({"error": {"code": status.to_string(), "message": message}}).to_string();
        self.publish_once(
            DeviceTopic::MethodResponse { status, rid }.to_string(),
            payload.into(),
        )
    }

    pub(super) fn ask(
        &mut self,
        question: TwinQuestion,
        answer: oneshot::Sender<TwinAnswer>,
    ) -> Result<(), DisconnectReason> {
        let rid = self.questions.rid();
        let (topic, payload) = match question {
            TwinQuestion::Get => (DeviceTopic::TwinGet { rid: &rid }.to_string(), EMPTY),
            TwinQuestion::Report(patch) => (DeviceTopic::Reported { rid: &rid }.to_string(), patch),
        };
        self.questions.insert(rid, answer);
        self.publish_once(topic, payload)
    }

    fn twin_answer(&mut self, rid: &str, answer: TwinAnswer) -> Result<(), DisconnectReason> {
        if self.desired.is_answer(rid) {
            let outcome = self.desired.answer(&answer);
            return self.desired_outcome(outcome);
        }
        if let Some(waiter) = self.questions.open.remove(rid) {
            // Given up meanwhile: nothing to do.
            let _ = waiter.send(answer);
        }
        Ok(())
    }

    /// Asks for the whole desired section.
    pub(super) fn get_desired(&mut self) -> Result<(), DisconnectReason> {
        let rid = self.questions.rid();
        let topic = DeviceTopic::TwinGet { rid: &rid }.to_string();
        self.desired
            .asked(rid, Instant::now() + self.shared.options.twin_timeout);
        self.publish_once(topic, EMPTY)
    }

    fn desired_outcome(&mut self, outcome: Outcome) -> Result<(), DisconnectReason> {
        match outcome {
            Outcome::Nothing => Ok(()),
            Outcome::Ask => self.get_desired(),
            Outcome::Tell {
                version,
                patch,
                complete,
            } => {
                if self
                    .outbox
                    .push(HubEvent::Desired {
                        version,
                        patch,
                        complete,
                    })
                    .is_err()
                    && !self.outbox.is_closed()
                {
                    self.desired.forget();
                }
                Ok(())
            }
        }
    }
}

/// A GET has no payload; both SDKs send one space (observed).
const EMPTY: Bytes = Bytes::from_static(b" ");

fn packet_id(ack: &ManualAck) -> u16 {
    match ack {
        ManualAck::PubAck(ack) => ack.pkid,
        ManualAck::PubRec(ack) => ack.pkid,
    }
}

fn summary(event: &HubEvent) -> Option<&str> {
    match event {
        HubEvent::CloudMessage(message) => message.message_id.as_deref(),
        _ => None,
    }
}
