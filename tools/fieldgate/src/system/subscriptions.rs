//! What iothub-module subscribes to, and how: the Dapr components and the broker's consumers behind them, which must
//! agree.
//!
//! The durable consumers are made before the first sidecar starts: an interest stream keeps an event only while a consumer
//! is interested in it, so one that is published before the first subscription would be dropped.
//!
//! * [`Delivery::Pull`], our own Dapr: component `pubsub.jetstream` version `v2` (image/dapr/jetstream) updates the
//!   durable pull consumer that it finds and acknowledges after the application.
//! * [`Delivery::Lanes`], a Dapr of the user's: version `v1` (components-contrib 1.18.3 with nats.go 1.39.1) calls
//!   `AddConsumer` and then `QueueSubscribe` with `Bind`: it compares the configuration, in which the deliver subject
//!   does not count, refuses on a difference, and else subscribes to the deliver subject that it finds. It subscribes
//!   without `ManualAck`, so nats.go acknowledges when the component's callback returns. With `concurrency: parallel`
//!   that is at once, and an event is lost if sidecar or application is killed before it was handled (seen: 17 of
//!   10,450). With `single` the callback returns after the application's answer. Hence `single`, and several lanes:
//!   components of one durable consumer and one queue group, each with one event in hand, so that the application can
//!   still commit several at a time.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use broker_setup::{ACK_WAIT, MAX_ACK_PENDING, Plan, StreamLimits, durable_name};

use super::broker::TOPIC_TELEMETRY;
use super::dapr::HUB_APP;
use crate::duration::render;

/// Deliveries in flight over all lanes. They wait in the sidecar for those before them, and must be answered within
/// [`ACK_WAIT`] even on a disk that takes 100 ms to commit.
const MAX_ACK_PENDING_LANES: i64 = 100;

/// How events come from the broker to the module's sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Pull,
    Lanes,
}

/// A subscription of iothub-module.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) topic: &'static str,
    /// Components, where each handles one event at a time.
    lanes: usize,
}

pub(crate) const SUBSCRIPTIONS: [Subscription; 2] = [
    Subscription {
        topic: TOPIC_TELEMETRY,
        lanes: 4,
    },
    Subscription {
        topic: "status",
        lanes: 1,
    },
];

/// The broker's streams, and for [`Delivery::Pull`] the consumers.
pub(crate) fn plan(delivery: Delivery) -> Plan {
    let subscriptions = match delivery {
        Delivery::Pull => SUBSCRIPTIONS
            .iter()
            .map(|subscription| (HUB_APP, subscription.topic))
            .collect(),
        Delivery::Lanes => Vec::new(),
    };
    Plan::standard(&StreamLimits::default(), &subscriptions, 1)
}

impl Delivery {
    /// The version of the Dapr component.
    pub(crate) fn component_version(self) -> &'static str {
        match self {
            Self::Pull => "v2",
            Self::Lanes => "v1",
        }
    }
}

impl Subscription {
    /// The names of its Dapr components.
    pub(crate) fn components(&self, delivery: Delivery) -> impl Iterator<Item = String> {
        let lanes = match delivery {
            Delivery::Pull => 1,
            Delivery::Lanes => self.lanes,
        };
        (1..=lanes).map(|lane| match lane {
            1 => format!("pubsub-{}", self.topic),
            _ => format!("pubsub-{}-{lane}", self.topic),
        })
    }

    /// The metadata of each of its Dapr components.
    pub(crate) fn metadata(&self, delivery: Delivery) -> Vec<(&'static str, String)> {
        let mut metadata = vec![
            (
                "streamName",
                plan(delivery).stream_of(self.topic).to_owned(),
            ),
            ("durableName", self.durable()),
            ("ackWait", render(ACK_WAIT)),
        ];
        match delivery {
            Delivery::Pull => metadata.push(("maxAckPending", MAX_ACK_PENDING.to_string())),
            Delivery::Lanes => metadata.extend([
                ("maxAckPending", MAX_ACK_PENDING_LANES.to_string()),
                ("queueGroupName", self.durable()),
                ("deliverPolicy", "all".to_owned()),
                ("ackPolicy", "explicit".to_owned()),
                ("concurrency", "single".to_owned()),
            ]),
        }
        metadata
    }

    /// The consumer for [`Delivery::Lanes`], field by field as the component would create it.
    pub(crate) fn push_consumer(&self) -> push::Config {
        push::Config {
            durable_name: Some(self.durable()),
            deliver_subject: self.deliver_subject(),
            deliver_group: Some(self.durable()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING_LANES,
            filter_subject: self.topic.to_owned(),
            ..push::Config::default()
        }
    }

    /// The durable consumer's name; also of its queue group.
    fn durable(&self) -> String {
        durable_name(HUB_APP, self.topic)
    }

    /// Where the broker sends the events of [`Delivery::Lanes`]; the sidecar subscribes to it.
    pub(crate) fn deliver_subject(&self) -> String {
        format!("deliver.{}", self.durable())
    }
}

#[cfg(test)]
mod tests {
    use broker_setup::EVENTS_STREAM;

    use super::*;

    #[test]
    fn components_and_consumers_agree() {
        for subscription in &SUBSCRIPTIONS {
            for delivery in [Delivery::Pull, Delivery::Lanes] {
                let metadata = subscription.metadata(delivery);
                let value = |name: &str| {
                    let entry = metadata.iter().find(|(entry, _)| *entry == name);
                    entry.map(|(_, value)| value.clone()).unwrap()
                };
                assert_eq!(value("streamName"), EVENTS_STREAM);
                let (durable, pending) = match delivery {
                    Delivery::Pull => {
                        let plan = plan(delivery);
                        let mut consumers = plan.consumers.iter();
                        let planned = consumers.find(|one| one.topic == subscription.topic);
                        let planned = planned.unwrap();
                        (planned.durable.clone(), planned.max_ack_pending.to_string())
                    }
                    Delivery::Lanes => {
                        let consumer = subscription.push_consumer();
                        assert_eq!(value("queueGroupName"), consumer.deliver_group.unwrap());
                        assert_eq!(
                            value("concurrency"),
                            "single",
                            "parallel acknowledges too early"
                        );
                        let pending = consumer.max_ack_pending.to_string();
                        (consumer.durable_name.unwrap(), pending)
                    }
                };
                assert_eq!(value("durableName"), durable);
                assert_eq!(value("maxAckPending"), pending);
                assert_eq!(value("ackWait"), "5000ms");
            }
        }
    }

    #[test]
    fn each_topic_has_one_component_or_a_lane_each() {
        let names = |delivery| SUBSCRIPTIONS[0].components(delivery).collect::<Vec<_>>();
        assert_eq!(names(Delivery::Pull), ["pubsub-telemetry"]);
        assert_eq!(names(Delivery::Lanes).len(), 4);
        assert_eq!(names(Delivery::Lanes)[1], "pubsub-telemetry-2");
    }
}
