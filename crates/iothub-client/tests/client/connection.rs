//! Sending, connections and their ends.

use std::time::Duration;

use futures_util::future::join_all;
use iothub_client::protocol::{HubTopic, Message, SharedAccessKey};
use iothub_client::{
    Client, ConnectionState, DisconnectReason, HubEvent, SendError, StartError, Trust,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Acks, Hub};
use crate::{SOON, disconnected, next, numbered, numbers};

#[tokio::test]
async fn messages_arrive_in_order_with_their_properties() {
    let hub = Hub::start().await;
    let (client, _events) = hub.client();
    let session = client.session().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..500 {
        deliveries.push(session.publish(numbered(number)).await.unwrap());
    }
    for delivery in deliveries {
        timeout(SOON, delivery).await.unwrap().unwrap();
    }
    assert_eq!(numbers(&hub), (0..500).collect::<Vec<_>>());
    assert_eq!(
        hub.state().received[7].topic,
        "devices/dev1/messages/events/%24.mid=m%3A7&%24.ct=application%2Fjson&%24.ce=utf-8"
    );
    client.stop().await;
    hub.wait("goodbye", |state| state.disconnects == 1).await;
}

#[tokio::test]
async fn the_window_bounds_what_is_in_flight() {
    let hub = Hub::start().await;
    hub.state().acks = Acks::Hold;
    let mut options = hub.options();
    options.window = 8;
    let (client, _events) = Client::start(options).unwrap();
    let session = client.session().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..8 {
        deliveries.push(session.publish(numbered(number)).await.unwrap());
    }
    hub.wait("eight messages", |state| state.received.len() == 8)
        .await;
    let mut ninth = Box::pin(session.publish(numbered(8)));
    assert!(
        timeout(Duration::from_millis(100), &mut ninth)
            .await
            .is_err(),
        "no place in the window"
    );
    // A delivery nobody waits for keeps its place until the PUBACK.
    drop(deliveries.pop());
    assert!(
        timeout(Duration::from_millis(100), &mut ninth)
            .await
            .is_err(),
        "still no place in the window"
    );

    hub.drop_connection().await;
    assert_eq!(
        timeout(SOON, ninth).await.unwrap().unwrap_err(),
        SendError::ConnectionLost
    );
    for delivery in deliveries {
        assert_eq!(
            timeout(SOON, delivery).await.unwrap(),
            Err(SendError::ConnectionLost)
        );
    }
}

#[tokio::test]
async fn a_lost_connection_fails_everything_and_sends_nothing_again() {
    let hub = Hub::start().await;
    hub.state().acks = Acks::Hold;
    let (client, mut events) = hub.client();
    let first = client.session().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..10 {
        deliveries.push(first.publish(numbered(number)).await.unwrap());
    }
    hub.wait("ten messages", |state| state.received.len() == 10)
        .await;
    hub.drop_connection().await;
    for delivery in deliveries {
        assert_eq!(
            timeout(SOON, delivery).await.unwrap(),
            Err(SendError::ConnectionLost)
        );
    }
    timeout(SOON, first.ended()).await.unwrap();
    assert!(!first.is_live());
    assert_eq!(
        first.publish(numbered(10)).await.unwrap_err(),
        SendError::ConnectionLost,
        "a dead session takes nothing"
    );

    hub.state().acks = Acks::Send;
    let second = timeout(SOON, client.session()).await.unwrap().unwrap();
    assert_eq!((first.generation(), second.generation()), (1, 2));
    second.publish(numbered(11)).await.unwrap().await.unwrap();
    assert_eq!(
        numbers(&hub),
        (0..10).chain([11]).collect::<Vec<_>>(),
        "only the caller sends again"
    );
    assert_eq!(hub.state().received[10].connection, 2);

    assert!(matches!(
        next(&mut events).await,
        HubEvent::Connected { generation: 1 }
    ));
    loop {
        match next(&mut events).await {
            HubEvent::Desired { .. } => {}
            HubEvent::Disconnected {
                reason: DisconnectReason::Lost { host, .. },
            } => break assert_eq!(host, "localhost"),
            event => panic!("{event:?}"),
        }
    }
    assert!(matches!(
        next(&mut events).await,
        HubEvent::Connected { generation: 2 }
    ));
}

/// The module's loop in small: what fails is sent again, in order, on the next session.
#[tokio::test]
async fn nothing_is_lost_or_out_of_order_over_many_connections() {
    const COUNT: usize = 3000;
    let hub = Hub::start().await;
    hub.state().drop_after = [1, 37, 200, 5, 64, 700, 333].into();
    let mut options = hub.options();
    options.window = 32;
    let (client, _events) = Client::start(options).unwrap();
    let mut confirmed = 0;
    while confirmed < COUNT {
        let session = timeout(SOON, client.session()).await.unwrap().unwrap();
        let (sender, mut deliveries) = mpsc::channel(64);
        let send = async {
            for number in confirmed..COUNT {
                let Ok(delivery) = session.publish(numbered(number)).await else {
                    break;
                };
                sender.send(delivery).await.unwrap();
            }
            drop(sender);
        };
        let confirm = async {
            let mut count = 0;
            let mut failed = false;
            while let Some(delivery) = timeout(SOON, deliveries.recv()).await.unwrap() {
                match timeout(SOON, delivery)
                    .await
                    .expect("every delivery resolves")
                {
                    Ok(()) => {
                        assert!(!failed, "the hub acknowledges in order");
                        count += 1;
                    }
                    Err(SendError::ConnectionLost) => failed = true,
                    Err(error) => panic!("{error}"),
                }
            }
            count
        };
        // Both halves run at once, as they borrow the same session.
        let ((), count) = tokio::join!(send, confirm);
        confirmed += count;
    }
    let received = numbers(&hub);
    let mut first_seen = Vec::new();
    for number in &received {
        if first_seen.last().is_none_or(|last| number > last) {
            first_seen.push(*number);
        }
    }
    assert_eq!(
        first_seen,
        (0..COUNT).collect::<Vec<_>>(),
        "none is missing, first arrivals are in order"
    );
    assert_eq!(hub.state().connections, 8);
    let repeats = received.len() - COUNT;
    assert!(
        repeats <= 7 * 32,
        "at most a window per loss is repeated, not {repeats}"
    );
}

#[tokio::test]
async fn a_missing_puback_ends_the_connection() {
    let hub = Hub::start().await;
    hub.state().swallow = 1;
    let mut options = hub.options();
    options.puback_timeout = Duration::from_millis(300);
    let (client, mut events) = Client::start(options).unwrap();
    let session = client.session().await.unwrap();
    let swallowed = session.publish(numbered(0)).await.unwrap();
    // Others go on being acknowledged, which must not hide the missing one.
    let others = async {
        for number in 1.. {
            let Ok(delivery) = session.publish(numbered(number)).await else {
                break;
            };
            if delivery.await.is_err() {
                break;
            }
        }
    };
    let (result, ()) = timeout(SOON, async { tokio::join!(swallowed, others) })
        .await
        .unwrap();
    assert_eq!(result, Err(SendError::ConnectionLost));
    loop {
        if let HubEvent::Disconnected { reason } = next(&mut events).await {
            break assert!(
                matches!(reason, DisconnectReason::AckTimeout { .. }),
                "{reason}"
            );
        }
    }
    client
        .session()
        .await
        .unwrap()
        .publish(numbered(0))
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_is_given_up_fails_what_is_in_flight_and_another_one_comes() {
    let hub = Hub::start().await;
    hub.state().acks = Acks::Hold;
    let (client, mut events) = hub.client();
    let session = client.session().await.unwrap();
    let delivery = session.publish(numbered(0)).await.unwrap();
    session.give_up(Duration::from_secs(3));
    assert_eq!(
        timeout(SOON, delivery).await.unwrap(),
        Err(SendError::ConnectionLost)
    );
    hub.state().acks = Acks::Send;
    let reason = loop {
        if let HubEvent::Disconnected { reason } = next(&mut events).await {
            break reason;
        }
    };
    assert!(
        matches!(reason, DisconnectReason::AckTimeout { after, .. } if after == Duration::from_secs(3)),
        "{reason}"
    );
    let second = timeout(SOON, client.session()).await.unwrap().unwrap();
    assert_eq!(second.generation(), 2);
    let delivery = second.publish(numbered(0)).await.unwrap();
    assert_eq!(timeout(SOON, delivery).await.unwrap(), Ok(()));
    // One that has ended already changes nothing.
    session.give_up(Duration::from_secs(3));
    let delivery = second.publish(numbered(1)).await.unwrap();
    assert_eq!(timeout(SOON, delivery).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_without_a_failed_message() {
    let hub = Hub::start().await;
    let mut options = hub.options();
    options.sas_lifetime = Duration::from_secs(2);
    let (client, mut events) = Client::start(options).unwrap();
    let mut number = 0;
    for generation in 1..=2 {
        let session = timeout(SOON, client.session()).await.unwrap().unwrap();
        assert_eq!(session.generation(), generation);
        let mut deliveries = Vec::new();
        // Until the client stops taking messages for the renewal.
        while let Ok(delivery) = session.publish(numbered(number)).await {
            number += 1;
            deliveries.push(delivery);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for result in timeout(SOON, join_all(deliveries)).await.unwrap() {
            result.expect("what was taken in is acknowledged before the renewal");
        }
    }
    client.session().await.unwrap();
    assert_eq!(numbers(&hub), (0..number).collect::<Vec<_>>());
    {
        let state = hub.state();
        assert!(state.disconnects >= 2, "each renewal says goodbye");
        assert!(
            state.passwords.windows(2).all(|pair| pair[0] != pair[1]),
            "each connection has a token of its own"
        );
    }
    loop {
        if let HubEvent::Disconnected { reason } = next(&mut events).await {
            break assert_eq!(reason, DisconnectReason::Renewal);
        }
    }
}

#[tokio::test]
async fn refusals_and_certificates_are_explained() {
    let hub = Hub::start().await;
    let mut options = hub.options();
    options.key = SharedAccessKey::from_base64("d3Jvbmc=").unwrap();
    let (client, _events) = Client::start(options).unwrap();
    let reason = disconnected(&client).await;
    assert!(reason.is_refusal(), "{reason}");
    assert!(
        reason.to_string().contains("dev1") && reason.to_string().contains("wrong key"),
        "{reason}"
    );
    client.stop().await;

    let stranger = Hub::start().await;
    let mut options = hub.options();
    options.trust = Trust::Pem(stranger.ca.clone());
    let (client, _events) = Client::start(options).unwrap();
    let reason = disconnected(&client).await;
    assert!(
        matches!(reason, DisconnectReason::Untrusted { .. }),
        "{reason}"
    );

    let misnamed = Hub::start_for("other.example").await;
    let (client, _events) = misnamed.client();
    let reason = disconnected(&client).await;
    assert!(
        matches!(reason, DisconnectReason::WrongName { .. }),
        "{reason}"
    );
    assert!(reason.to_string().contains("other.example"), "{reason}");

    let mut options = hub.options();
    options.port = 1;
    let (client, _events) = Client::start(options).unwrap();
    let reason = disconnected(&client).await;
    assert!(
        matches!(reason, DisconnectReason::Unreachable { .. }),
        "{reason}"
    );

    let mut options = hub.options();
    options.trust = Trust::Pem(b"nothing".to_vec());
    assert!(matches!(
        Client::start(options),
        Err(StartError::NoCertificate)
    ));
    let mut options = hub.options();
    options.window = 0;
    assert!(matches!(
        Client::start(options),
        Err(StartError::Setting { name: "window", .. })
    ));
}

#[tokio::test]
async fn a_slow_user_does_not_stop_the_connection() {
    let hub = Hub::start().await;
    let (client, mut events) = hub.client();
    let session = client.session().await.unwrap();
    hub.wait("the twin to be read", |state| !state.twin_gets.is_empty())
        .await;
    for number in 0..400 {
        hub.publish(
            &HubTopic::Method {
                name: "flood".into(),
                rid: &number.to_string(),
            },
            b"",
            0,
        )
        .await;
    }
    session.publish(numbered(0)).await.unwrap().await.unwrap();
    hub.wait("calls over the bound to be refused", |state| {
        state.method_answers.iter().any(|answer| answer.0 == 503)
    })
    .await;
    let refused = hub.state().method_answers.len();
    let mut calls = 0;
    while calls + refused < 400 {
        if let HubEvent::Method(_) = next(&mut events).await {
            calls += 1;
        }
    }
    assert_eq!(
        session.generation(),
        client.session().await.unwrap().generation()
    );
}

#[tokio::test]
async fn a_stop_waits_for_what_is_in_flight() {
    let hub = Hub::start().await;
    let (client, mut events) = hub.client();
    let session = client.session().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..40 {
        deliveries.push(session.publish(numbered(number)).await.unwrap());
    }
    timeout(SOON, client.clone().stop()).await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    hub.wait("goodbye", |state| state.disconnects == 1).await;
    assert!(client.session().await.is_err());
    assert_eq!(*client.state().borrow(), ConnectionState::Stopped);
    while events.recv().await.is_some() {}

    let hub = Hub::start().await;
    hub.state().acks = Acks::Hold;
    let mut options = hub.options();
    options.drain_timeout = Duration::from_millis(100);
    let (client, _events) = Client::start(options).unwrap();
    let delivery = client
        .session()
        .await
        .unwrap()
        .publish(numbered(0))
        .await
        .unwrap();
    timeout(SOON, client.stop()).await.unwrap();
    assert_eq!(
        delivery.await,
        Err(SendError::ConnectionLost),
        "the wait has an end"
    );
    hub.wait("goodbye", |state| state.disconnects == 1).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_puback_that_is_over_time() {
    let hub = Hub::start().await;
    hub.state().acks = Acks::Hold;
    let mut options = hub.options();
    options.puback_timeout = Duration::from_millis(300);
    options.drain_timeout = Duration::from_secs(600);
    let (client, _events) = Client::start(options).unwrap();
    let session = client.session().await.unwrap();
    let delivery = session.publish(numbered(0)).await.unwrap();
    hub.wait("the message", |state| state.received.len() == 1)
        .await;
    timeout(SOON, client.stop()).await.unwrap();
    assert_eq!(delivery.await, Err(SendError::ConnectionLost));
    hub.wait("goodbye", |state| state.disconnects == 1).await;
}

#[tokio::test]
async fn messages_the_hub_would_refuse_are_not_sent() {
    let hub = Hub::start().await;
    let (client, _events) = hub.client();
    let session = client.session().await.unwrap();
    let error = session
        .publish(Message::new(vec![0; 256 * 1024 + 1]))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        SendError::TooLarge {
            size: 262_145,
            limit: 262_144
        }
    );
    let mut wordy = Message::default();
    wordy
        .properties
        .push(("note".to_owned(), "ä".repeat(15_000)));
    assert!(matches!(
        session.publish(wordy).await.unwrap_err(),
        SendError::Invalid(_)
    ));
    session
        .publish(Message::new(vec![0; 256 * 1024]))
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(hub.state().received.len(), 1);
    assert_eq!(hub.state().subscriptions.len(), 4);
}
