//! One connected client, free of sockets: packets in, bytes out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_protocol::{DeviceTopic, HubIdentity, HubTopic, Subscription};
use rumqttc::mqttbytes::v4::{
    Packet, PingResp, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use rumqttc::mqttbytes::{Error as MqttError, QoS};
use serde_json::json;
use tokio::time::Instant;

use super::cloud_delivery::CloudDelivery;
use super::handshake::Admitted;
use super::pubacks::Pubacks;
use super::subscriptions::{NotGranted, Subscriptions};
use super::telemetry::{Incoming, Telemetry, shortened};
use super::{End, LARGEST_PACKET};
use crate::clock;
use crate::faults::PubackFate;
use crate::hub::Hub;
use crate::hub::connections::{Link, MethodReply, Outgoing};
use crate::hub::error::HubError;
use crate::options::UndocumentedTopics;
use crate::storage::record::Batch;

/// The state of one connection after its CONNECT was accepted.
#[derive(Debug)]
pub(super) struct Session<'a> {
    hub: &'a Hub,
    link: Arc<Link>,
    identity: HubIdentity,
    name: String,
    keep: bool,
    telemetry: Telemetry,
    subscriptions: Subscriptions,
    cloud: CloudDelivery,
    pubacks: Pubacks,
    /// Telemetry of the present read, not yet in the file.
    batch: Batch,
    /// The packet ids of the batch's QoS 1 messages.
    unacknowledged: Vec<u16>,
    /// What is to be sent.
    pub(super) output: BytesMut,
}

impl<'a> Session<'a> {
    /// Takes up the kept session of the identity, or begins a new one. Returns whether there was one.
    pub(super) fn open(
        hub: &'a Hub,
        link: Arc<Link>,
        admitted: &Admitted,
    ) -> Result<(Self, bool), End> {
        let identity = admitted.identity.clone();
        let kept = if admitted.clean_session {
            // MQTT 3.1.1, 3.1.2.4: a clean session discards the one before.
            hub.keep_session(&identity, None).map_err(storage)?;
            None
        } else {
            hub.session_of(&identity)
        };
        let subscriptions = kept
            .as_ref()
            .map(|session| Subscriptions::from_session(session, &identity))
            .unwrap_or_default();
        let mut session = Self {
            hub,
            name: identity.client_id(),
            keep: !admitted.clean_session,
            telemetry: Telemetry::new(&identity, admitted.model_id.clone(), link.since_us),
            link,
            identity,
            subscriptions,
            cloud: CloudDelivery::new(hub.options.cloud_message_lock),
            pubacks: Pubacks::default(),
            batch: Batch::default(),
            unacknowledged: Vec::new(),
            output: BytesMut::new(),
        };
        session.subscriptions_changed()?;
        Ok((session, kept.is_some()))
    }

    /// Handles every complete packet in `input`. Telemetry of one call goes to the file with one write, and is
    /// acknowledged after it.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<(), End> {
        let received_us = clock::unix_microseconds();
        loop {
            match Packet::read(input, LARGEST_PACKET) {
                Ok(Packet::Publish(publish)) => self.published(&publish, received_us)?,
                Ok(packet) => {
                    self.flush()?;
                    self.packet(packet)?;
                }
                Err(MqttError::InsufficientBytes(_)) => return self.flush(),
                Err(error) => {
                    // What came before the damage was well-formed.
                    self.flush()?;
                    return Err(error.into());
                }
            }
        }
    }

    /// Sends what the hub wants sent.
    pub(super) fn send(&mut self, outgoing: Outgoing) -> Result<(), End> {
        match outgoing {
            Outgoing::Desired { version, payload } => self.publish(
                Subscription::Desired,
                &HubTopic::Desired {
                    version: Some(version),
                },
                payload,
            ),
            Outgoing::Method { name, rid, payload } => self.publish(
                Subscription::Methods,
                &HubTopic::Method {
                    name: name.into(),
                    rid: &rid,
                },
                payload,
            ),
        }
    }

    /// Sends the cloud-to-device messages that wait and are not locked.
    pub(super) fn deliver_cloud_messages(&mut self) -> Result<(), End> {
        let Some(qos) = self.subscriptions.qos_of(Subscription::CloudMessages) else {
            return Ok(());
        };
        for message in self
            .hub
            .take_for_delivery(&self.identity, |sequence| self.cloud.is_locked(sequence))
        {
            let topic = HubTopic::CloudMessage {
                device: self.identity.device(),
                bag: &message.bag,
            }
            .to_string();
            let mut publish = Publish::from_bytes(topic, qos, message.body);
            if qos == QoS::AtMostOnce {
                // Nobody will acknowledge it.
                self.hub
                    .complete(&self.identity, message.sequence)
                    .map_err(storage)?;
            } else {
                publish.pkid = self.cloud.sent(message.sequence);
                publish.dup = message.again;
            }
            publish.write(&mut self.output)?;
        }
        Ok(())
    }

    /// Does what is due by the clock.
    pub(super) fn tick(&mut self) -> Result<(), End> {
        self.pubacks.release(&mut self.output)?;
        if self.cloud.unlock_expired() {
            self.deliver_cloud_messages()?;
        }
        Ok(())
    }

    /// When `tick` has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        [self.pubacks.next_due(), self.cloud.next_expiry()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Records the will of a client that went without DISCONNECT.
    pub(super) fn record_will(&mut self, will: &super::handshake::Will) -> Result<(), End> {
        self.telemetry
            .add_will(&mut self.batch, will, clock::unix_microseconds())?;
        self.flush()
    }

    fn packet(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::PubAck(puback) => match self.cloud.acknowledged(puback.pkid) {
                Some(sequence) => self.hub.complete(&self.identity, sequence).map_err(storage),
                None => Ok(()),
            },
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::PingReq => {
                PingResp.write(&mut self.output)?;
                Ok(())
            }
            Packet::Disconnect => Err(End::Disconnected),
            other => Err(End::Protocol(format!(
                "{:?} is not for the client to send here",
                other.packet_type()
            ))),
        }
    }

    fn published(&mut self, publish: &Publish, received_us: u64) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            self.flush()?;
            // Device guide, MQTT support: QoS 2 is not supported and ends the connection.
            return Err(End::Protocol("PUBLISH with QoS 2".to_owned()));
        }
        let topic = std::str::from_utf8(&publish.topic).unwrap_or_default();
        match DeviceTopic::parse(topic) {
            Ok(DeviceTopic::Telemetry {
                device,
                module,
                bag,
            }) if device == self.identity.device() && module == self.identity.module() => {
                let message = Incoming {
                    bag,
                    body: &publish.payload,
                    retain: publish.retain,
                    received_us,
                };
                if let Err(end) = self.telemetry.add(&mut self.batch, &message) {
                    self.flush()?;
                    return Err(end);
                }
                if publish.qos == QoS::AtLeastOnce {
                    self.unacknowledged.push(publish.pkid);
                }
                Ok(())
            }
            Ok(DeviceTopic::TwinGet { rid }) => {
                self.acknowledge(publish)?;
                match self.hub.twin(&self.identity) {
                    Ok(twin) => self.answer(200, rid, None, twin.to_json().to_string().into()),
                    Err(error) => self.answer_error(rid, &error),
                }
            }
            Ok(DeviceTopic::Reported { rid }) => {
                self.acknowledge(publish)?;
                match self.hub.report(&self.identity, &publish.payload) {
                    Ok(version) => self.answer(204, rid, Some(version), Bytes::new()),
                    Err(error) => self.answer_error(rid, &error),
                }
            }
            Ok(DeviceTopic::MethodResponse { status, rid }) => {
                self.acknowledge(publish)?;
                self.link.reply(
                    rid,
                    MethodReply {
                        status,
                        payload: publish.payload.clone(),
                    },
                );
                Ok(())
            }
            Ok(DeviceTopic::Telemetry { .. }) | Err(_) => {
                match self.hub.options.undocumented_topics {
                    UndocumentedTopics::Drop => {
                        self.flush()?;
                        Err(End::Topic(shortened(topic).into_owned()))
                    }
                    UndocumentedTopics::Refuse => self.acknowledge(publish),
                }
            }
        }
    }

    /// Acknowledges what is not telemetry, after all that came before it.
    fn acknowledge(&mut self, publish: &Publish) -> Result<(), End> {
        self.flush()?;
        if publish.qos == QoS::AtLeastOnce {
            self.pubacks
                .push(publish.pkid, PubackFate::Now, &mut self.output)?;
        }
        Ok(())
    }

    /// Writes the batch to the file, then its PUBACKs to the output: a PUBACK means that the message is kept.
    fn flush(&mut self) -> Result<(), End> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let appended = self.hub.messages.append(&self.name, &self.batch);
        self.batch.clear();
        appended.map_err(|error| End::Storage(error.to_string()))?;
        for pkid in self.unacknowledged.drain(..) {
            self.pubacks
                .push(pkid, self.hub.faults.puback(), &mut self.output)?;
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), End> {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            codes.push(
                match self
                    .subscriptions
                    .add(&filter.path, filter.qos, &self.identity)
                {
                    Ok(qos) => SubscribeReasonCode::Success(qos),
                    Err(reason) => {
                        if self.hub.options.undocumented_topics == UndocumentedTopics::Drop {
                            let filter = shortened(&filter.path);
                            return Err(match reason {
                                NotGranted::Undocumented => End::Topic(filter.into_owned()),
                                NotGranted::TooMany => End::Protocol(format!(
                                    "{filter} is one subscription more than IoT Hub allows"
                                )),
                            });
                        }
                        SubscribeReasonCode::Failure
                    }
                },
            );
        }
        self.subscriptions_changed()?;
        SubAck::new(subscribe.pkid, codes).write(&mut self.output)?;
        self.deliver_cloud_messages()
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        for filter in &unsubscribe.topics {
            self.subscriptions.remove(filter);
        }
        self.subscriptions_changed()?;
        UnsubAck::new(unsubscribe.pkid).write(&mut self.output)?;
        Ok(())
    }

    fn subscriptions_changed(&mut self) -> Result<(), End> {
        if self.keep {
            self.hub
                .keep_session(&self.identity, Some(&self.subscriptions.to_session()))
                .map_err(storage)?;
        }
        self.link.set_listening(self.subscriptions.kinds());
        self.hub.connections.tell();
        Ok(())
    }

    fn answer_error(&mut self, rid: &str, error: &HubError) -> Result<(), End> {
        let (status, code) = error.codes();
        let body = json!({
            "errorCode": code,
            "trackingId": format!("{:032X}", rand::random::<u128>()),
            "message": error.to_string(),
            "timestampUtc": clock::rfc3339(clock::unix_microseconds()),
        });
        self.answer(status, rid, None, body.to_string().into())
    }

    fn answer(
        &mut self,
        status: u16,
        rid: &str,
        version: Option<u64>,
        payload: Bytes,
    ) -> Result<(), End> {
        self.publish(
            Subscription::TwinResponses,
            &HubTopic::TwinResponse {
                status,
                rid,
                version,
            },
            payload,
        )
    }

    /// Publishes at QoS 0, as IoT Hub does with all but cloud-to-device messages, and only what the client subscribed to.
    fn publish(
        &mut self,
        kind: Subscription,
        topic: &HubTopic<'_>,
        payload: Bytes,
    ) -> Result<(), End> {
        if self.subscriptions.qos_of(kind).is_some() {
            Publish::from_bytes(topic.to_string(), QoS::AtMostOnce, payload)
                .write(&mut self.output)?;
        }
        Ok(())
    }
}

fn storage(error: HubError) -> End {
    End::Storage(error.to_string())
}
