//! The broker: nats-server's configuration, and its streams and consumers, set up before anything publishes.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::{Client, ConnectOptions, jetstream};
use broker_setup::{Login, NatsConfiguration, Plan, Text, User, reconcile};

use super::dapr::{HUB_APP, READER_APP};
use super::directory::RunDirectory;
use super::subscriptions::{self, Delivery, SUBSCRIPTIONS};

pub(crate) const TOPIC_TELEMETRY: &str = "telemetry";
pub(crate) const TOPIC_DEAD_LETTER: &str = "deadletter";
/// What the modules publish.
const READER_PUBLISHES: [&str; 4] = [TOPIC_TELEMETRY, "alarms", "status", TOPIC_DEAD_LETTER];
const HUB_PUBLISHES: [&str; 4] = ["commands", "config", "status", TOPIC_DEAD_LETTER];
const MAX_FILE_STORE: u64 = 512 << 20;
const START_DEADLINE: Duration = Duration::from_secs(20);
const REQUEST: Duration = Duration::from_secs(5);
/// Of clients that do not name one of their own.
const COMMON_INBOX: &str = "_INBOX.>";
/// Name of the consumers by which the demo itself learns what the broker accepted.
const AUDIT: &str = "demo-audit";
/// What it learns of.
const AUDITED: [&str; 2] = [TOPIC_TELEMETRY, TOPIC_DEAD_LETTER];

/// A user of the broker.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) user: &'static str,
    pub(crate) password: String,
}

impl Credentials {
    fn new(user: &'static str) -> Self {
        Self {
            user,
            password: format!("{:032x}", rand::random::<u128>()),
        }
    }

    fn login(&self) -> Login {
        Login::Password {
            user: self.user.to_owned(),
            password: self.password.clone(),
        }
    }
}

/// The broker of one run.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    port: u16,
    /// May do anything: sets up and audits.
    setup: Credentials,
    pub(crate) reader: Credentials,
    pub(crate) hub: Credentials,
}

impl Broker {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            setup: Credentials::new("setup"),
            reader: Credentials::new(READER_APP),
            hub: Credentials::new(HUB_APP),
        }
    }

    /// Where a user connects to, with the password.
    pub(crate) fn url(&self, credentials: &Credentials) -> String {
        format!(
            "nats://{}:{}@127.0.0.1:{}",
            credentials.user, credentials.password, self.port
        )
    }

    /// Writes nats-server.conf and returns its path.
    pub(crate) fn write_configuration(
        &self,
        directory: &RunDirectory,
        delivery: Delivery,
    ) -> Result<std::path::PathBuf> {
        let configuration =
            self.configuration(&directory.join("jetstream").display().to_string(), delivery);
        directory.write(
            "nats-server.conf",
            &format!("# The demo's broker; see docs/decisions for why JetStream.\n{configuration}"),
        )
    }

    fn configuration(&self, store: &str, delivery: Delivery) -> NatsConfiguration {
        let plan = subscriptions::plan(Delivery::Pull);
        let topics = SUBSCRIPTIONS
            .each_ref()
            .map(|subscription| subscription.topic);
        let mut reader = User::module(
            self.reader.login(),
            &plan,
            READER_APP,
            &READER_PUBLISHES,
            &[],
        );
        let mut hub = User::module(self.hub.login(), &plan, HUB_APP, &HUB_PUBLISHES, &topics);
        if delivery == Delivery::Lanes {
            let lanes = SUBSCRIPTIONS.iter().map(|one| one.deliver_subject());
            hub.subscribe.extend(lanes);
            // Upstream's component (v1) has no `inboxPrefix`: its answers come to the inbox that all users have in common, where each can
            // read those of the others. Events do not come there, but to the deliver subjects.
            for user in [&mut reader, &mut hub] {
                user.subscribe.push(COMMON_INBOX.to_owned());
            }
        }
        let mut setup = User::setup(self.setup.login());
        // It audits as well, and is the one with which a person looks at everything.
        setup.publish = vec![">".to_owned()];
        setup.subscribe = vec![">".to_owned()];
        NatsConfiguration {
            server_name: Text::Literal("fieldgate-demo".to_owned()),
            max_file_store: MAX_FILE_STORE,
            users: vec![setup, reader, hub],
            ..NatsConfiguration::new(&plan, format!("127.0.0.1:{}", self.port), store)
        }
    }

    /// Connects, waiting for the server to come up.
    pub(crate) async fn connect(&self) -> Result<Client> {
        let address = format!("nats://127.0.0.1:{}", self.port);
        let attempt = async {
            loop {
                let options = ConnectOptions::with_user_and_password(
                    self.setup.user.to_owned(),
                    self.setup.password.clone(),
                )
                .name("fieldgate demo")
                .connection_timeout(Duration::from_secs(2))
                .request_timeout(Some(REQUEST))
                .reconnect_delay_callback(|_| Duration::from_millis(200));
                match options.connect(&address).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(START_DEADLINE, attempt)
            .await
            .with_context(|| {
                format!(
                    "the broker at {address} did not come up in {} s",
                    START_DEADLINE.as_secs()
                )
            })
    }

    /// Makes the streams and every consumer; returns the audit's, one of each stream.
    pub(crate) async fn set_up(client: &Client, delivery: Delivery) -> Result<Vec<PullConsumer>> {
        let plan = subscriptions::plan(delivery);
        reconcile(client, &plan).await?;
        let context = jetstream::new(client.clone());
        if delivery == Delivery::Lanes {
            for subscription in &SUBSCRIPTIONS {
                context
                    .create_consumer_on_stream(
                        subscription.push_consumer(),
                        plan.stream_of(subscription.topic),
                    )
                    .await
                    .with_context(|| format!("creating the consumer for {}", subscription.topic))?;
            }
        }
        let mut audit = Vec::with_capacity(AUDITED.len());
        for topic in AUDITED {
            audit.push(audit_consumer(&context, &plan, topic).await?);
        }
        Ok(audit)
    }
}

async fn audit_consumer(
    context: &jetstream::Context,
    plan: &Plan,
    topic: &str,
) -> Result<PullConsumer> {
    let config = pull::Config {
        durable_name: Some(AUDIT.to_owned()),
        description: Some("what the broker accepted: ids only".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        filter_subject: topic.to_owned(),
        headers_only: true,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    context
        .create_consumer_on_stream(config, plan.stream_of(topic))
        .await
        .with_context(|| format!("creating the audit consumer of {topic}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_a_password_of_its_own_and_few_rights() {
        let broker = Broker::new(4222);
        let configuration = broker.configuration("/run/x/jetstream", Delivery::Pull);
        assert_ne!(broker.reader.password, broker.hub.password);
        let text = configuration.to_string();
        assert!(text.contains("listen: \"127.0.0.1:4222\""));
        let [_, reader, hub] = &configuration.users[..] else {
            panic!("{text}");
        };
        let has = |rights: &[String], words: &str| rights.iter().any(|right| right.contains(words));
        assert!(
            !hub.publish.contains(&TOPIC_TELEMETRY.to_owned()),
            "{hub:?}"
        );
        assert!(has(
            &hub.publish,
            "$JS.ACK.fieldgate.iothub-module-telemetry.>"
        ));
        assert!(!has(&reader.publish, "$JS.API.CONSUMER"), "{reader:?}");
        assert_eq!(reader.subscribe, ["_INBOX.modbus-reader.>"]);
        assert_eq!(hub.subscribe, ["_INBOX.iothub-module.>"]);
        let lanes = broker.configuration("/run/x/jetstream", Delivery::Lanes);
        for module in &lanes.users[1..] {
            assert!(module.subscribe.contains(&COMMON_INBOX.to_owned()));
        }
    }

    #[test]
    fn what_the_modules_publish_and_subscribe_to_has_a_stream() {
        let plan = subscriptions::plan(Delivery::Pull);
        plan.check().unwrap();
        let carried = |topic: &str| {
            plan.streams
                .iter()
                .any(|stream| stream.topics.iter().any(|own| own == topic))
        };
        for topic in READER_PUBLISHES
            .iter()
            .chain(&HUB_PUBLISHES)
            .chain(&AUDITED)
        {
            assert!(carried(topic), "{topic}");
        }
        for subscription in &SUBSCRIPTIONS {
            assert!(carried(subscription.topic));
            assert!(!carried(&subscription.deliver_subject()));
        }
        // One audit consumer of one name in each stream.
        assert_ne!(plan.stream_of(AUDITED[0]), plan.stream_of(AUDITED[1]));
    }
}
