//! Against a real nats-server: what the set-up makes of it, and what its users may do.

// A test ends with a panic; clippy knows that only inside of #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delivery;
mod moving;
mod server;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::{self, stream};
use broker_setup::{Keep, Plan, SetupError, StreamLimits, reconcile, remove_consumer};
use server::Server;

fn plan() -> Plan {
    let subscriptions = [("iothub-module", "telemetry"), ("iothub-module", "status")];
    Plan::standard(&StreamLimits::default(), &subscriptions, 1)
}

#[tokio::test]
async fn a_fresh_broker_becomes_like_its_plan_and_stays_so() {
    let plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    let first = reconcile(&client, &plan).await.unwrap();
    assert_eq!(
        first.created,
        [
            "stream fieldgate",
            "stream fieldgate-kept",
            "consumer iothub-module-telemetry of stream fieldgate",
            "consumer iothub-module-status of stream fieldgate",
        ]
    );
    assert!(first.updated.is_empty(), "{first:?}");
    assert_eq!(first.streams[0].max_bytes, 256 << 20);
    assert_eq!(first.consumers.len(), 2);

    let second = reconcile(&client, &plan).await.unwrap();
    assert!(!second.changed(), "{second:?}");
    assert_eq!(second.unplanned().count(), 0);
}

#[tokio::test]
async fn what_nobody_planned_is_told_and_goes_only_when_asked() {
    let plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    let with_more = {
        let subscriptions = [("iothub-module", "telemetry"), ("old-filter", "telemetry")];
        Plan::standard(&StreamLimits::default(), &subscriptions, 1)
    };
    reconcile(&client, &with_more).await.unwrap();
    let report = reconcile(&client, &plan).await.unwrap();
    let unplanned: Vec<_> = report
        .unplanned()
        .map(|consumer| consumer.durable.as_str())
        .collect();
    assert_eq!(unplanned, ["old-filter-telemetry"]);

    let refused = remove_consumer(&client, &plan, "fieldgate", "iothub-module-telemetry").await;
    assert!(
        matches!(refused, Err(SetupError::Planned { .. })),
        "{refused:?}"
    );
    let remove = async || {
        remove_consumer(&client, &plan, "fieldgate", "old-filter-telemetry")
            .await
            .unwrap()
    };
    assert!(remove().await);
    assert!(!remove().await, "it was gone");
    assert_eq!(
        reconcile(&client, &plan).await.unwrap().unplanned().count(),
        0
    );
}

#[tokio::test]
async fn changed_bounds_are_put_in_place() {
    let mut plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    reconcile(&client, &plan).await.unwrap();

    plan.streams[0].max_bytes = 32 << 20;
    plan.streams[1].keep = Keep::Limits {
        max_age: Duration::from_secs(3600),
    };
    plan.consumers[0].ack_wait = Duration::from_secs(7);
    plan.consumers[1].max_ack_pending = 10;
    let report = reconcile(&client, &plan).await.unwrap();
    assert!(report.created.is_empty(), "{report:?}");
    let updated: Vec<_> = report.updated.iter().map(ToString::to_string).collect();
    assert_eq!(
        updated,
        [
            "stream fieldgate: max_bytes",
            "stream fieldgate-kept: max_age",
            "consumer iothub-module-telemetry of stream fieldgate: ack_wait",
            "consumer iothub-module-status of stream fieldgate: max_ack_pending",
        ]
    );
    assert_eq!(report.streams[0].max_bytes, 32 << 20);
    assert!(!reconcile(&client, &plan).await.unwrap().changed());
}

#[tokio::test]
async fn the_one_stream_of_earlier_installations_becomes_two() {
    let plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    let context = jetstream::new(client.clone());
    let topics = [
        "telemetry",
        "alarms",
        "status",
        "commands",
        "config",
        "deadletter",
    ];
    context
        .create_stream(stream::Config {
            name: "fieldgate".to_owned(),
            subjects: topics.map(str::to_owned).to_vec(),
            retention: stream::RetentionPolicy::Interest,
            discard: stream::DiscardPolicy::New,
            max_bytes: 256 << 20,
            description: Some("by hand".to_owned()),
            ..stream::Config::default()
        })
        .await
        .unwrap();
    let report = reconcile(&client, &plan).await.unwrap();
    assert!(
        report
            .updated
            .iter()
            .any(|update| update.fields.contains(&"topics")),
        "{report:?}"
    );
    assert!(
        report.created.contains(&"stream fieldgate-kept".to_owned()),
        "{report:?}"
    );
    // What the plan does not speak of stays.
    let info = context
        .get_stream("fieldgate")
        .await
        .unwrap()
        .cached_info()
        .clone();
    assert_eq!(info.config.description.as_deref(), Some("by hand"));
    assert!(!reconcile(&client, &plan).await.unwrap().changed());
}

#[tokio::test]
async fn what_cannot_be_changed_is_named_and_left_alone() {
    let mut plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    reconcile(&client, &plan).await.unwrap();

    plan.streams[0].keep = Keep::Limits {
        max_age: Duration::from_secs(3600),
    };
    let error = reconcile(&client, &plan).await.unwrap_err().to_string();
    assert!(
        error.contains("stream fieldgate has retention Interest, the plan wants Limits"),
        "{error}"
    );

    // A consumer of the right name of another kind.
    let plan = Plan::standard(
        &StreamLimits::default(),
        &[("filter", "alarms"), ("filter", "status")],
        1,
    );
    let context = jetstream::new(client.clone());
    let stream = context.get_stream("fieldgate").await.unwrap();
    let pushed = push::Config {
        durable_name: Some("filter-alarms".to_owned()),
        deliver_subject: "deliver.filter".to_owned(),
        ..push::Config::default()
    };
    stream.create_consumer(pushed).await.unwrap();
    let error = reconcile(&client, &plan).await.unwrap_err().to_string();
    assert!(
        error.contains("consumer filter-alarms of stream fieldgate has deliver_subject"),
        "{error}"
    );

    stream.delete_consumer("filter-alarms").await.unwrap();
    let careless = pull::Config {
        durable_name: Some("filter-status".to_owned()),
        ack_policy: AckPolicy::All,
        ..pull::Config::default()
    };
    stream.create_consumer(careless).await.unwrap();
    let error = reconcile(&client, &plan).await.unwrap_err().to_string();
    assert!(
        error.contains("ack_policy All, the plan wants Explicit"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_that_is_in_the_way_and_a_disk_that_is_too_small_are_told() {
    let mut plan = plan();
    let server = Server::running(&plan);
    let client = server.client("setup").await;
    let other = stream::Config {
        name: "mine".to_owned(),
        subjects: vec!["alarms".to_owned()],
        ..stream::Config::default()
    };
    // JetStream may answer a little later than the server's port; what waits for it is under test elsewhere.
    plan.streams[0].topics.retain(|topic| topic != "alarms");
    reconcile(&client, &plan).await.unwrap();
    jetstream::new(client.clone())
        .create_stream(other)
        .await
        .unwrap();
    plan.streams[0].topics.push("alarms".to_owned());
    let error = reconcile(&client, &plan).await.unwrap_err().to_string();
    assert!(
        error.contains("another stream, which is not in the plan"),
        "{error}"
    );

    plan.streams[0].topics.pop();
    plan.streams[0].max_bytes = 1 << 40;
    let error = reconcile(&client, &plan).await.unwrap_err().to_string();
    assert!(error.contains("max_file_store"), "{error}");
}

#[tokio::test]
async fn a_plan_with_problems_changes_nothing() {
    let mut wrong = plan();
    wrong.streams[1].max_bytes = 1;
    wrong.consumers[0].topic = "nowhere".to_owned();
    let server = Server::running(&plan());
    let client = server.client("setup").await;
    let error = reconcile(&client, &wrong).await.unwrap_err();
    let SetupError::Plan(problems) = &error else {
        panic!("{error}");
    };
    assert_eq!(problems.lines().len(), 2, "{error}");
    assert_eq!(reconcile(&client, &plan()).await.unwrap().created.len(), 4);
}
