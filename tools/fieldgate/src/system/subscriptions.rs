//! What iothub-module subscribes to, and how: the Dapr components and the broker's consumers behind them, which must
//! agree.
//!
//! The durable consumers are made before the first sidecar starts: the stream keeps an event only while a consumer is
//! interested in it, so one that is published before the first subscription would be dropped.
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

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull, push};

use super::broker::{STREAM, TOPIC_TELEMETRY};
use crate::duration::render;

/// Time after which a delivery is repeated whose sidecar has vanished.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// Deliveries in flight.
const MAX_ACK_PENDING: i64 = 1000;
/// The same over all lanes. They wait in the sidecar for those before them, and must be answered within [`ACK_WAIT`]
/// even on a disk that takes 100 ms to commit.
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
    /// The durable consumer's name; also of its queue group.
    durable: &'static str,
    /// Components, where each handles one event at a time.
    lanes: usize,
}

pub(crate) const SUBSCRIPTIONS: [Subscription; 2] = [
    Subscription {
        topic: TOPIC_TELEMETRY,
        durable: "iothub-module-telemetry",
        lanes: 4,
    },
    Subscription {
        topic: "status",
        durable: "iothub-module-status",
        lanes: 1,
    },
];

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
            ("durableName", self.durable.to_owned()),
            ("ackWait", render(ACK_WAIT)),
        ];
        match delivery {
            Delivery::Pull => metadata.push(("maxAckPending", MAX_ACK_PENDING.to_string())),
            Delivery::Lanes => metadata.extend([
                ("maxAckPending", MAX_ACK_PENDING_LANES.to_string()),
                ("queueGroupName", self.durable.to_owned()),
                ("deliverPolicy", "all".to_owned()),
                ("ackPolicy", "explicit".to_owned()),
                ("concurrency", "single".to_owned()),
            ]),
        }
        metadata
    }

    /// The consumer for [`Delivery::Pull`], field by field as the component updates it.
    pub(crate) fn pull_consumer(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.durable.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING,
            max_deliver: -1,
            filter_subject: self.topic.to_owned(),
            ..pull::Config::default()
        }
    }

    /// The consumer for [`Delivery::Lanes`], field by field as the component would create it.
    pub(crate) fn push_consumer(&self) -> push::Config {
        push::Config {
            durable_name: Some(self.durable.to_owned()),
            deliver_subject: self.deliver_subject(),
            deliver_group: Some(self.durable.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING_LANES,
            filter_subject: self.topic.to_owned(),
            ..push::Config::default()
        }
    }

    /// Subjects that a sidecar must be allowed to publish to, to receive and to acknowledge.
    pub(crate) fn publish_rights(&self) -> Vec<String> {
        let consumer = format!("{STREAM}.{}", self.durable);
        vec![
            format!("$JS.API.CONSUMER.INFO.{consumer}"),
            format!("$JS.API.CONSUMER.CREATE.{consumer}.{}", self.topic),
            format!("$JS.API.CONSUMER.MSG.NEXT.{consumer}"),
            format!("$JS.ACK.{consumer}.>"),
        ]
    }

    /// Subjects that a sidecar must be allowed to subscribe to.
    pub(crate) fn subscribe_rights(&self) -> Vec<String> {
        vec![self.deliver_subject()]
    }

    fn deliver_subject(&self) -> String {
        format!("deliver.{}", self.durable)
    }
}

#[cfg(test)]
mod tests {
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
                let (durable, pending) = match delivery {
                    Delivery::Pull => {
                        let consumer = subscription.pull_consumer();
                        (consumer.durable_name, consumer.max_ack_pending)
                    }
                    Delivery::Lanes => {
                        let consumer = subscription.push_consumer();
                        assert_eq!(value("queueGroupName"), consumer.deliver_group.unwrap());
                        assert_eq!(
                            value("concurrency"),
                            "single",
                            "parallel acknowledges too early"
                        );
                        (consumer.durable_name, consumer.max_ack_pending)
                    }
                };
                assert_eq!(Some(value("durableName")), durable);
                assert_eq!(value("maxAckPending"), pending.to_string());
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
