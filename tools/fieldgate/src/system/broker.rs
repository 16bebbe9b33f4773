//! The broker: nats-server's configuration, and its stream and consumers, set up before anything publishes.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::{Client, ConnectOptions, jetstream};

use super::directory::RunDirectory;
use super::subscriptions::{Delivery, SUBSCRIPTIONS};

/// The one stream.
pub(crate) const STREAM: &str = "fieldgate";
pub(crate) const TOPIC_TELEMETRY: &str = "telemetry";
pub(crate) const TOPIC_DEAD_LETTER: &str = "deadletter";
/// Every topic of design 3.2, and the dead letters.
const TOPICS: [&str; 6] = [
    TOPIC_TELEMETRY,
    "alarms",
    "status",
    "commands",
    "config",
    TOPIC_DEAD_LETTER,
];
const MAX_BYTES: i64 = 256 << 20;
const MAX_PAYLOAD: &str = "4MB";
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Name of the consumer by which the demo itself learns what the broker accepted.
const AUDIT: &str = "demo-audit";

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
            reader: Credentials::new("modbus-reader"),
            hub: Credentials::new("iothub-module"),
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
    ) -> Result<std::path::PathBuf> {
        directory.write(
            "nats-server.conf",
            &self.configuration(&directory.join("jetstream").display().to_string()),
        )
    }

    fn configuration(&self, store: &str) -> String {
        // What a sidecar's component needs and no more: its topics, to look at a consumer, to answer deliveries.
        let reader = user(
            &self.reader,
            &[
                TOPIC_TELEMETRY,
                "alarms",
                "status",
                TOPIC_DEAD_LETTER,
                "$JS.API.INFO",
            ],
            &["_INBOX.>"],
        );
        let mut hub_publishes = vec![
            "commands".to_owned(),
            "config".to_owned(),
            "status".to_owned(),
            TOPIC_DEAD_LETTER.to_owned(),
            "$JS.API.INFO".to_owned(),
        ];
        let mut hub_subscribes = vec!["_INBOX.>".to_owned()];
        for subscription in &SUBSCRIPTIONS {
            hub_publishes.extend(subscription.publish_rights());
            hub_subscribes.extend(subscription.subscribe_rights());
        }
        let hub = user(&self.hub, &hub_publishes, &hub_subscribes);
        let setup = user(&self.setup, &[">"], &[">"]);
        format!(
            r#"# The demo's broker; see docs/decisions for why JetStream.
server_name: fieldgate-demo
listen: "127.0.0.1:{port}"
max_payload: {MAX_PAYLOAD}
jetstream {{
  store_dir: "{store}"
  max_memory_store: 16MB
  max_file_store: 512MB
  # An event counts as stored when it is written; the disk is flushed this often.
  sync_interval: 1s
}}
authorization {{
  users = [
    {setup}
    {reader}
    {hub}
  ]
}}
"#,
            port = self.port
        )
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
                .request_timeout(Some(Duration::from_secs(5)))
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

    /// Makes the stream and every consumer; returns the audit's.
    pub(crate) async fn set_up(client: &Client, delivery: Delivery) -> Result<PullConsumer> {
        let context = jetstream::new(client.clone());
        let stream = create_stream(&context).await?;
        for subscription in &SUBSCRIPTIONS {
            let created = match delivery {
                Delivery::Pull => stream
                    .create_consumer(subscription.pull_consumer())
                    .await
                    .map(drop),
                Delivery::Lanes => stream
                    .create_consumer(subscription.push_consumer())
                    .await
                    .map(drop),
            };
            created.with_context(|| format!("creating the consumer for {}", subscription.topic))?;
        }
        stream
            .create_consumer(pull::Config {
                durable_name: Some(AUDIT.to_owned()),
                description: Some("what the broker accepted: ids only".to_owned()),
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::Explicit,
                filter_subjects: vec![TOPIC_TELEMETRY.to_owned(), TOPIC_DEAD_LETTER.to_owned()],
                headers_only: true,
                max_ack_pending: 10_000,
                ..pull::Config::default()
            })
            .await
            .context("creating the audit consumer")
    }
}

async fn create_stream(context: &jetstream::Context) -> Result<Stream> {
    // JetStream's API answers a little later than the server's port.
    let attempt = async {
        loop {
            let config = Config {
                name: STREAM.to_owned(),
                subjects: TOPICS.map(str::to_owned).to_vec(),
                retention: RetentionPolicy::Interest,
                discard: DiscardPolicy::New,
                max_bytes: MAX_BYTES,
                duplicate_window: DUPLICATE_WINDOW,
                storage: StorageType::File,
                num_replicas: 1,
                ..Config::default()
            };
            match context.create_stream(config).await {
                Ok(stream) => return anyhow::Ok(stream),
                Err(error) if error.to_string().contains("no responders") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("creating the stream {STREAM}"));
                }
            }
        }
    };
    tokio::time::timeout(START_DEADLINE, attempt)
        .await
        .context("JetStream did not answer")?
}

fn user(
    credentials: &Credentials,
    publish: &[impl AsRef<str>],
    subscribe: &[impl AsRef<str>],
) -> String {
    let list = |subjects: Vec<&str>| {
        subjects
            .iter()
            .map(|subject| format!("\"{subject}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "{{ user: \"{}\", password: \"{}\", permissions: {{ publish: [{}], subscribe: [{}] }} }}",
        credentials.user,
        credentials.password,
        list(publish.iter().map(AsRef::as_ref).collect()),
        list(subscribe.iter().map(AsRef::as_ref).collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_a_password_of_its_own_and_few_rights() {
        let broker = Broker::new(4222);
        let text = broker.configuration("/run/x/jetstream");
        assert_ne!(broker.reader.password, broker.hub.password);
        assert!(text.contains("listen: \"127.0.0.1:4222\""));
        let hub = text
            .lines()
            .find(|line| line.contains("\"iothub-module\""))
            .unwrap();
        assert!(!hub.contains("\"telemetry\""), "{hub}");
        assert!(hub.contains("$JS.ACK.fieldgate.iothub-module-telemetry.>"));
        let reader = text
            .lines()
            .find(|line| line.contains("\"modbus-reader\""))
            .unwrap();
        assert!(!reader.contains("$JS.API.CONSUMER"), "{reader}");
    }

    #[test]
    fn topics_that_someone_subscribes_to_are_in_the_stream() {
        for subscription in &SUBSCRIPTIONS {
            assert!(TOPICS.contains(&subscription.topic));
            for subject in subscription.subscribe_rights() {
                assert!(!TOPICS.contains(&subject.as_str()));
            }
        }
    }
}
