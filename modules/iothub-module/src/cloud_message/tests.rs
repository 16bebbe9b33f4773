use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::testing::{TestSidecar, publisher, until};

fn message(id: Option<&str>, body: &'static [u8], completed: &Arc<AtomicUsize>) -> CloudMessage {
    let completed = Arc::clone(completed);
    CloudMessage {
        message_id: id.map(str::to_owned),
        properties: vec![("priority".to_owned(), "high".to_owned())],
        body: Bytes::from_static(body),
        complete: Box::new(move || {
            completed.fetch_add(1, Ordering::SeqCst);
        }),
    }
}

fn rendered(id: Option<&str>, body: &'static [u8]) -> serde_json::Value {
    let publisher = publisher(&TestSidecar::new());
    let event = event(&publisher, &message(id, body, &Arc::default())).unwrap();
    serde_json::from_slice(&event.body).unwrap()
}

#[test]
fn a_message_becomes_an_event_with_a_stable_id() {
    let event = rendered(Some("m-1"), br#"{"set":18446744073709551615}"#);
    assert_eq!(event["id"], "iothub-module/command/m-1");
    assert_eq!(event["type"], "com.fieldgate.command.v1");
    assert_eq!(event["source"], "/fieldgate/gate-7/iothub-module");
    assert_eq!(
        event["data"],
        json!({"message_id": "m-1", "properties": {"priority": "high"}, "body": {"set": u64::MAX}})
    );
    assert_eq!(
        rendered(Some("m-1"), b"\x00\xff")["data"]["body_base64"],
        "AP8="
    );
    // Nothing says that two messages without an id are the same.
    assert_ne!(rendered(None, b"1")["id"], rendered(None, b"1")["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_completed_only_when_the_broker_has_it() {
    let sidecar = TestSidecar::new();
    sidecar.fail_next(3);
    let (sender, receiver) = mpsc::channel(4);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(
        receiver,
        publisher(&sidecar),
        "commands".to_owned(),
        shutdown.clone(),
    ));
    let completed = Arc::new(AtomicUsize::new(0));
    sender
        .send(message(Some("m-1"), b"1", &completed))
        .await
        .unwrap();
    sender
        .send(message(Some("m-2"), b"2", &completed))
        .await
        .unwrap();
    until("both completed", || completed.load(Ordering::SeqCst) == 2).await;
    let ids: Vec<_> = sidecar
        .published()
        .iter()
        .map(|(topic, event)| (topic.clone(), event["data"]["message_id"].clone()))
        .collect();
    assert_eq!(
        ids,
        [
            ("commands".to_owned(), json!("m-1")),
            ("commands".to_owned(), json!("m-2"))
        ]
    );

    sidecar.fail_next(usize::MAX);
    sender
        .send(message(Some("m-3"), b"3", &completed))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(
        completed.load(Ordering::SeqCst),
        2,
        "not handed on, so the hub keeps it"
    );
}
