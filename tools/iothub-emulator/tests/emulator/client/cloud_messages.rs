//! Cloud-to-device messages: they are the hub's until the caller completes them.

use std::time::Duration;

use super::{Peer, options};
use crate::support::{Bench, eventually};
use iothub_client::{AnswerError, CloudMessage, HubEvent};
use serde_json::json;

const QUEUE: &str = "/devices/dev1/messages/devicebound";

async fn enqueue(bench: &Bench, id: &str) {
    let message = json!({"messageId": id, "body": {"cmd": id}, "properties": {"a key": "a/b&c=d"}});
    assert_eq!(bench.http("POST", QUEUE, &message.to_string()).await.0, 200);
}

async fn pending(bench: &Bench, expected: &[&str]) {
    eventually(&format!("{expected:?} to be left"), async || {
        let (_, pending) = bench.http("GET", QUEUE, "").await;
        let ids: Vec<_> = pending
            .as_array()?
            .iter()
            .map(|message| message["messageId"].as_str())
            .collect();
        ids.into_iter()
            .eq(expected.iter().map(|id| Some(*id)))
            .then_some(())
    })
    .await;
}

async fn message(peer: &mut Peer) -> CloudMessage {
    match peer.request().await {
        HubEvent::CloudMessage(message) => message,
        event => panic!("{event:?} instead of a message"),
    }
}

#[tokio::test]
async fn a_message_comes_again_until_it_is_completed() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.ready().await;
    for id in ["m-1", "m-2", "m-3"] {
        enqueue(&bench, id).await;
    }
    let first = message(&mut peer).await;
    let second = message(&mut peer).await;
    let third = message(&mut peer).await;
    assert_eq!(first.message_id.as_deref(), Some("m-1"));
    assert_eq!(&first.body[..], br#"{"cmd":"m-1"}"#);
    assert_eq!(first.content_type.as_deref(), Some("application/json"));
    assert_eq!(
        first.properties,
        [("a key".to_owned(), "a/b&c=d".to_owned())]
    );
    assert_eq!(
        first.system,
        [(
            "$.to".to_owned(),
            "/devices/dev1/messages/devicebound".to_owned()
        )]
    );
    // In any order, each for itself; one is dropped without a word.
    third.complete().unwrap();
    first.complete().unwrap();
    drop(second);
    pending(&bench, &["m-2"]).await;

    bench.fault(r#"{"kind":"drop"}"#).await;
    let again = message(&mut peer).await;
    assert_eq!(again.message_id.as_deref(), Some("m-2"));
    // Too late for the connection that brought it: it comes once more.
    bench.fault(r#"{"kind":"drop"}"#).await;
    let once_more = message(&mut peer).await;
    assert_eq!(once_more.message_id.as_deref(), Some("m-2"));
    assert!(matches!(
        again.complete(),
        Err(AnswerError::ConnectionChanged)
    ));
    once_more.complete().unwrap();
    pending(&bench, &[]).await;
    assert_eq!(peer.session().await.generation(), 3);
}

/// The hub's lock ends while the caller still works on the message.
#[tokio::test]
async fn a_message_completed_after_its_lock_does_no_harm() {
    let bench =
        Bench::start_with(|options| options.cloud_message_lock = Duration::from_millis(200)).await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.ready().await;
    enqueue(&bench, "m-1").await;
    let first = message(&mut peer).await;
    let second = message(&mut peer).await;
    assert_eq!(first.message_id, second.message_id);
    first.complete().unwrap();
    second.complete().unwrap();
    // Whichever of its deliveries was in time: the last one at hand is completed at once.
    let drained = pending(&bench, &[]);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => break,
            event = peer.events.recv() => if let Some(HubEvent::CloudMessage(message)) = event {
                message.complete().unwrap();
            },
        }
    }
    peer.tell(0).await;
    assert_eq!(peer.session().await.generation(), 1);
}

/// What waited while the device was away, as many as the hub keeps.
#[tokio::test]
async fn waiting_messages_come_in_order_after_connecting() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let ids: Vec<String> = (0..50).map(|number| format!("m-{number}")).collect();
    for id in &ids {
        enqueue(&bench, id).await;
    }
    let mut peer = Peer::with(options(&bench, &login));
    for id in &ids {
        let message = message(&mut peer).await;
        assert_eq!(message.message_id.as_ref(), Some(id));
        message.complete().unwrap();
    }
    pending(&bench, &[]).await;
}
