//! What the cloud asks for: desired properties, twin answers, methods and messages.

use std::time::Duration;

use iothub_client::protocol::HubTopic;
use iothub_client::{AnswerError, Client, ConnectionState, HubEvent};
use serde_json::json;
use tokio::time::timeout;

use crate::support::Hub;
use crate::{SOON, next_content, numbered};

#[tokio::test]
async fn desired_properties_stay_complete() {
    let hub = Hub::start().await;
    let (client, mut events) = hub.client();
    let HubEvent::Desired {
        version: 1,
        patch,
        complete: true,
    } = next_content(&mut events).await
    else {
        panic!()
    };
    assert_eq!(patch, json!({"interval": 5}));

    hub.desire(json!({"interval": 6}), true).await;
    let HubEvent::Desired {
        version: 2,
        patch,
        complete: false,
    } = next_content(&mut events).await
    else {
        panic!()
    };
    assert_eq!(patch, json!({"interval": 6}));

    // One notification is lost: the next one shows it and the whole section is read again.
    hub.desire(json!({"lost": true}), false).await;
    hub.desire(json!({"interval": null}), true).await;
    let HubEvent::Desired {
        version: 4,
        patch,
        complete: true,
    } = next_content(&mut events).await
    else {
        panic!()
    };
    assert_eq!(patch, json!({"lost": true}));

    // What changed while away arrives with the next connection.
    hub.desire(json!({"away": 1}), false).await;
    hub.drop_connection().await;
    let HubEvent::Desired {
        version: 5,
        patch,
        complete: true,
    } = next_content(&mut events).await
    else {
        panic!()
    };
    assert_eq!(patch, json!({"lost": true, "away": 1}));
    client.stop().await;
}

#[tokio::test]
async fn twin_requests_survive_lost_answers_and_connections() {
    let hub = Hub::start().await;
    let mut options = hub.options();
    options.twin_timeout = Duration::from_millis(400);
    let (client, mut events) = Client::start(options).unwrap();
    assert!(matches!(
        next_content(&mut events).await,
        HubEvent::Desired { .. }
    ));

    hub.state().swallow_twin = 1;
    let twin = timeout(SOON, client.twin()).await.unwrap().unwrap();
    assert_eq!(
        (twin.desired_version, &twin.desired),
        (1, &json!({"interval": 5}))
    );
    let gets = hub.state().twin_gets.clone();
    assert!(
        gets.len() >= 3 && gets.windows(2).all(|pair| pair[0] != pair[1]),
        "asked again under a new id: {gets:?}"
    );

    assert_eq!(
        timeout(SOON, client.report(&json!({"module": {"state": "ready"}})))
            .await
            .unwrap()
            .unwrap(),
        42
    );
    assert_eq!(hub.state().reported, json!({"module": {"state": "ready"}}));
    assert!(
        client.report(&json!({"a.b": 1})).await.is_err(),
        "what the hub would refuse is not sent"
    );

    hub.state().swallow_twin = 1;
    let asked = hub.state().twin_gets.len();
    let question = tokio::spawn({
        let client = client.clone();
        async move { client.twin().await }
    });
    hub.wait("the question", |state| state.twin_gets.len() > asked)
        .await;
    hub.drop_connection().await;
    timeout(SOON, question).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn methods_are_answered_on_the_connection_that_brought_them() {
    let hub = Hub::start().await;
    let (client, mut events) = hub.client();
    assert!(matches!(
        next_content(&mut events).await,
        HubEvent::Desired { .. }
    ));
    hub.publish(
        &HubTopic::Method {
            name: "modbus-reader.write".into(),
            rid: "r1",
        },
        br#"{"tag":"x"}"#,
        0,
    )
    .await;
    let HubEvent::Method(call) = next_content(&mut events).await else {
        panic!()
    };
    assert_eq!(
        (call.name.as_str(), &call.payload),
        ("modbus-reader.write", &json!({"tag": "x"}))
    );
    call.respond(200, &json!({"written": 1})).unwrap();
    hub.wait("the answer", |state| {
        state.method_answers == [(200, "r1".to_owned(), json!({"written": 1}))]
    })
    .await;

    hub.publish(
        &HubTopic::Method {
            name: "odd".into(),
            rid: "r2",
        },
        b"{",
        0,
    )
    .await;
    hub.wait("a complaint about the payload", |state| {
        state.method_answers.len() == 2 && state.method_answers[1].0 == 400
    })
    .await;

    hub.publish(
        &HubTopic::Method {
            name: "slow".into(),
            rid: "r3",
        },
        b"",
        0,
    )
    .await;
    let HubEvent::Method(call) = next_content(&mut events).await else {
        panic!()
    };
    hub.drop_connection().await;
    let mut state = client.state();
    state
        .wait_for(|state| matches!(state, ConnectionState::Connected { generation: 2, .. }))
        .await
        .unwrap();
    assert!(matches!(
        call.respond(200, &json!(null)),
        Err(AnswerError::ConnectionChanged)
    ));

    drop(events);
    hub.wait("the second connection to be set up", |state| {
        state.twin_gets.len() >= 2
    })
    .await;
    hub.publish(
        &HubTopic::Method {
            name: "any".into(),
            rid: "r4",
        },
        b"",
        0,
    )
    .await;
    hub.wait("an answer although nobody listens", |state| {
        state
            .method_answers
            .last()
            .is_some_and(|answer| answer.0 == 501)
    })
    .await;
}

#[tokio::test]
async fn a_cloud_message_is_acknowledged_only_when_completed() {
    let hub = Hub::start().await;
    let (client, mut events) = hub.client();
    assert!(matches!(
        next_content(&mut events).await,
        HubEvent::Desired { .. }
    ));
    let topic = HubTopic::CloudMessage {
        device: "dev1",
        bag: "%24.mid=m-1&iothub-ack=full&prop3=a%20string",
    };
    hub.publish(&topic, b"{}", 7).await;
    let HubEvent::CloudMessage(message) = next_content(&mut events).await else {
        panic!()
    };
    assert_eq!(message.message_id.as_deref(), Some("m-1"));
    assert_eq!(
        message.properties[1],
        ("prop3".to_owned(), "a string".to_owned())
    );
    client
        .session()
        .await
        .unwrap()
        .publish(numbered(0))
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(
        hub.state().completed.is_empty(),
        "no PUBACK before complete()"
    );
    message.complete().unwrap();
    hub.wait("the PUBACK", |state| state.completed == [7]).await;

    // Delivered twice under one id, as after the hub's lock ended: one PUBACK, and no harm.
    hub.publish(&topic, b"{}", 8).await;
    hub.publish(&topic, b"{}", 8).await;
    for _ in 0..2 {
        let HubEvent::CloudMessage(message) = next_content(&mut events).await else {
            panic!()
        };
        message.complete().unwrap();
    }
    client
        .session()
        .await
        .unwrap()
        .publish(numbered(1))
        .await
        .unwrap()
        .await
        .unwrap();
    hub.wait("one PUBACK", |state| state.completed == [7, 8])
        .await;

    hub.publish(&topic, b"{}", 9).await;
    let HubEvent::CloudMessage(message) = next_content(&mut events).await else {
        panic!()
    };
    hub.drop_connection().await;
    let mut state = client.state();
    state
        .wait_for(|state| matches!(state, ConnectionState::Connected { generation: 2, .. }))
        .await
        .unwrap();
    assert!(matches!(
        message.complete(),
        Err(AnswerError::ConnectionChanged)
    ));
    assert_eq!(hub.state().connections, 2);
}
