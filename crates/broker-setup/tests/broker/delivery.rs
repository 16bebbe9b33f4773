//! What is kept for whom, and who may do what.

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, Message};
use broker_setup::{Plan, StreamLimits, inbox_prefix, reconcile};
use futures_util::StreamExt;
use nkeys::KeyPair;

use super::plan;
use super::server::{PATIENCE, Server};

/// The broker has stored it.
async fn publish(client: &async_nats::Client, topic: &'static str, body: &'static str) {
    let context = jetstream::new(client.clone());
    let stored = async {
        context
            .publish(topic, body.into())
            .await
            .unwrap()
            .await
            .unwrap()
    };
    tokio::time::timeout(PATIENCE, stored).await.unwrap();
}

/// The next event of a consumer, with no more rights than its module has.
async fn next(client: &async_nats::Client, stream: &str, durable: &str) -> Message {
    let context = jetstream::new(client.clone());
    let consumer: PullConsumer = context
        .get_consumer_from_stream(durable, stream)
        .await
        .unwrap();
    let mut batch = consumer
        .fetch()
        .max_messages(1)
        .expires(PATIENCE)
        .messages()
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, batch.next())
        .await
        .unwrap()
        .expect("nothing was kept")
        .unwrap()
}

#[tokio::test]
async fn an_event_that_is_published_before_its_subscriber_comes_is_kept() {
    let plan = plan();
    let mut server = Server::running(&plan);
    let setup = server.client("setup").await;
    reconcile(&setup, &plan).await.unwrap();
    let (reader, refusals) = server.watched("modbus-reader").await;
    publish(&reader, "telemetry", "1").await;
    // Nobody has planned to read alarms.
    publish(&reader, "alarms", "2").await;

    server.kill();
    server.start();
    let (hub, hub_refusals) = server.watched("iothub-module").await;
    let event = next(&hub, "fieldgate", "iothub-module-telemetry").await;
    assert_eq!(&event.payload[..], b"1");
    event.double_ack().await.unwrap();
    let report = reconcile(&setup, &plan).await.unwrap();
    assert_eq!(report.streams[0].messages, 0, "{report:?}");
    assert_eq!(refusals.all(), Vec::<String>::new());
    assert_eq!(hub_refusals.all(), Vec::<String>::new());
}

#[tokio::test]
async fn a_command_is_kept_for_a_subscriber_that_nobody_knew() {
    let plan = plan();
    let server = Server::running(&plan);
    let setup = server.client("setup").await;
    reconcile(&setup, &plan).await.unwrap();
    let hub = server.client("iothub-module").await;
    publish(&hub, "commands", "open").await;

    let subscriptions = [
        ("iothub-module", "telemetry"),
        ("iothub-module", "status"),
        ("setup", "commands"),
    ];
    let with_more = Plan::standard(&StreamLimits::default(), &subscriptions, 1);
    let report = reconcile(&setup, &with_more).await.unwrap();
    assert_eq!(
        report.created,
        ["consumer setup-commands of stream fieldgate-kept"]
    );
    let consumer = report
        .consumers
        .iter()
        .find(|one| one.durable == "setup-commands")
        .unwrap();
    assert_eq!(consumer.pending, 1);
    let event = next(&setup, "fieldgate-kept", "setup-commands").await;
    assert_eq!(&event.payload[..], b"open");
}

#[tokio::test]
async fn a_user_has_its_own_rights_only() {
    let plan = plan();
    let server = Server::running(&plan);
    let setup = server.client("setup").await;
    reconcile(&setup, &plan).await.unwrap();

    let (reader, refusals) = server.watched("modbus-reader").await;
    for topic in [
        "commands",
        "$JS.API.STREAM.DELETE.fieldgate",
        "$JS.API.CONSUMER.CREATE.fieldgate.mine.telemetry",
        "$JS.API.CONSUMER.MSG.NEXT.fieldgate.iothub-module-telemetry",
        "$JS.ACK.fieldgate.iothub-module-telemetry.1.1.1.1.1",
    ] {
        reader.publish(topic, "x".into()).await.unwrap();
        reader.flush().await.unwrap();
        refusals
            .hear(&["permissions violation", "publish", topic])
            .await;
    }
    for topic in [
        "telemetry",
        ">",
        "$JS.ACK.>",
        "deliver.iothub-module-telemetry",
    ] {
        let _subscription = reader.subscribe(topic).await.unwrap();
        reader.flush().await.unwrap();
        refusals
            .hear(&["permissions violation", "subscription", topic])
            .await;
    }

    let (hub, refusals) = server.watched("iothub-module").await;
    hub.publish("telemetry", "forged".into()).await.unwrap();
    hub.flush().await.unwrap();
    refusals
        .hear(&["permissions violation", "publish", "telemetry"])
        .await;

    // The user of the set-up can neither publish an event nor listen to one.
    let (setup, refusals) = server.watched("setup").await;
    setup.publish("telemetry", "forged".into()).await.unwrap();
    let _subscription = setup.subscribe("telemetry").await.unwrap();
    setup.flush().await.unwrap();
    refusals
        .hear(&["permissions violation", "publish", "telemetry"])
        .await;
    refusals
        .hear(&["permissions violation", "subscription", "telemetry"])
        .await;
    let report = reconcile(&setup, &plan).await.unwrap();
    assert!(
        report.streams.iter().all(|stream| stream.messages == 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn what_is_delivered_to_one_cannot_be_read_by_another() {
    let plan = plan();
    let server = Server::running(&plan);
    let setup = server.client("setup").await;
    reconcile(&setup, &plan).await.unwrap();
    for user in ["modbus-reader", "iothub-module", "setup"] {
        let (client, refusals) = server.watched(user).await;
        for inbox in [
            "_INBOX.>",
            "_INBOX.*.*",
            "_INBOX.modbus-reader.>",
            "_INBOX.iothub-module.>",
            "_INBOX.setup.>",
        ] {
            if inbox == format!("{}.>", inbox_prefix(user)) {
                continue;
            }
            let _subscription = client.subscribe(inbox).await.unwrap();
            client.flush().await.unwrap();
            refusals
                .hear(&["permissions violation", "subscription", inbox])
                .await;
        }
        let before = refusals.all().len();
        let own = format!("{}.mine", inbox_prefix(user));
        let _subscription = client.subscribe(own).await.unwrap();
        // The answer arrives in the inbox, behind a refusal if there were one.
        let answer = client.request("$JS.API.INFO", "".into()).await.unwrap();
        assert!(!answer.payload.is_empty());
        assert_eq!(refusals.all().len(), before, "{:?}", refusals.all());
    }
}

#[tokio::test]
async fn who_has_no_key_of_the_broker_does_not_come_in() {
    let server = Server::running(&plan());
    server.client("setup").await.flush().await.unwrap();
    for options in [
        ConnectOptions::new(),
        ConnectOptions::with_nkey(KeyPair::new_user().seed().unwrap()),
        ConnectOptions::with_user_and_password("setup".to_owned(), "setup".to_owned()),
    ] {
        let refused = server.connect(options).await.unwrap_err();
        assert!(refused.to_string().contains("authorization"), "{refused}");
    }
}

#[tokio::test]
async fn a_broker_that_starts_late_is_waited_for() {
    let plan = plan();
    let mut server = Server::new(&plan);
    let client = server.client("setup").await;
    let reconciling = {
        let (client, plan) = (client.clone(), plan.clone());
        tokio::spawn(async move { reconcile(&client, &plan).await })
    };
    tokio::task::yield_now().await;
    server.start();
    let report = tokio::time::timeout(PATIENCE, reconciling)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(report.created.len(), 4);
}
