//! What a user of the broker may publish and subscribe to: what its sidecar's component needs, and no more.
//!
//! The subjects are those of the JetStream API (NATS documentation, "JetStream wire API reference").

use crate::plan::{Plan, durable_name};

/// The user of the set-up.
pub const SETUP_USER: &str = "setup";
/// Says whether JetStream is there; clients ask when they connect.
const ACCOUNT_INFO: &str = "$JS.API.INFO";
/// Finds the stream of a topic, for components without `streamName`.
const STREAM_NAMES: &str = "$JS.API.STREAM.NAMES";
/// Everything that sets up streams and consumers, and nothing that is published or delivered.
const SETUP_API: &str = "$JS.API.>";
/// The pieces of a stream that is saved, and of one that is restored.
const SNAPSHOTS: &str = "$JS.SNAPSHOT.>";

impl Plan {
    /// Subjects to which the sidecar of `module` publishes, when the module publishes and subscribes to these topics.
    pub fn publish_rights(
        &self,
        module: &str,
        publishes: &[&str],
        subscribes: &[&str],
    ) -> Vec<String> {
        let mut rights: Vec<String> = publishes.iter().map(|topic| (*topic).to_owned()).collect();
        rights.push(ACCOUNT_INFO.to_owned());
        if !subscribes.is_empty() {
            rights.push(STREAM_NAMES.to_owned());
        }
        for topic in subscribes {
            rights.extend(consumer_rights(
                self.stream_of(topic),
                &durable_name(module, topic),
                topic,
            ));
        }
        rights
    }

    /// Subjects to which the sidecar of `module` subscribes. Events come as answers to its own requests, so no topic is
    /// among them.
    pub fn subscribe_rights(
        &self,
        module: &str,
        _publishes: &[&str],
        _subscribes: &[&str],
    ) -> Vec<String> {
        vec![own_inbox(module)]
    }
}

/// Where answers to the requests of a user, and the events it pulls, arrive: the metadata `inboxPrefix` of its Dapr components, the
/// custom inbox prefix of a client. Each user may listen to its own only, so that none reads what is delivered to another.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX.{user}")
}

fn own_inbox(user: &str) -> String {
    format!("{}.>", inbox_prefix(user))
}

/// Subjects to publish to for one subscription: look at its durable consumer, create or update it, ask for events,
/// answer them.
pub fn consumer_rights(stream: &str, durable: &str, topic: &str) -> [String; 4] {
    [
        format!("$JS.API.CONSUMER.INFO.{stream}.{durable}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.{durable}.{topic}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"),
        format!("$JS.ACK.{stream}.{durable}.>"),
    ]
}

/// Subjects to which the user of the set-up publishes.
pub fn setup_publish_rights() -> Vec<String> {
    vec![SETUP_API.to_owned(), SNAPSHOTS.to_owned()]
}

/// Subjects to which the user of the set-up subscribes.
pub fn setup_subscribe_rights() -> Vec<String> {
    vec![own_inbox(SETUP_USER)]
}

#[cfg(test)]
mod tests {
    use crate::plan::StreamLimits;

    use super::*;

    #[test]
    fn a_publisher_may_publish_its_topics_only() {
        let plan = Plan::standard(&StreamLimits::default(), &[], 1);
        let rights = plan.publish_rights("modbus-reader", &["telemetry", "deadletter"], &[]);
        assert_eq!(rights, ["telemetry", "deadletter", "$JS.API.INFO"]);
        assert_eq!(
            plan.subscribe_rights("modbus-reader", &["telemetry"], &[]),
            ["_INBOX.modbus-reader.>"]
        );
    }

    #[test]
    fn a_subscriber_may_read_its_own_consumers_in_the_right_stream() {
        let plan = Plan::standard(&StreamLimits::default(), &[("filter", "telemetry")], 1);
        let rights = plan.publish_rights("filter", &["alarms"], &["telemetry", "commands"]);
        for right in [
            "$JS.API.CONSUMER.CREATE.fieldgate.filter-telemetry.telemetry",
            "$JS.API.CONSUMER.MSG.NEXT.fieldgate.filter-telemetry",
            "$JS.ACK.fieldgate.filter-telemetry.>",
            "$JS.API.CONSUMER.INFO.fieldgate-kept.filter-commands",
            "$JS.API.STREAM.NAMES",
        ] {
            assert!(rights.iter().any(|own| own == right), "{right}: {rights:?}");
        }
        // Reading a topic is no right to publish it.
        assert!(
            !rights
                .iter()
                .any(|own| own == "telemetry" || own.contains('*'))
        );
    }
}
