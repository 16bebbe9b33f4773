//! Direct methods: answered on the connection that brought them, or not at all.

use std::time::{Duration, Instant};

use super::{Peer, options};
use crate::support::{Bench, http_request};
use iothub_client::{AnswerError, DisconnectReason, HubEvent, MethodCall};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Calls from the service side; the answer is a status and JSON.
fn call(bench: &Bench, path: &str, body: &Value) -> JoinHandle<(u16, Value)> {
    let (port, path, body) = (bench.ports().control, path.to_owned(), body.to_string());
    tokio::spawn(async move {
        let (status, text) = http_request(port, "POST", &path, &body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    })
}

async fn method(peer: &mut Peer) -> MethodCall {
    match peer.request().await {
        HubEvent::Method(call) => call,
        event => panic!("{event:?} instead of a method call"),
    }
}

#[tokio::test]
async fn a_method_is_answered_for_device_and_module() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for (client_id, path) in [
        ("dev1", "/devices/dev1/methods"),
        ("dev1/gateway", "/devices/dev1/modules/gateway/methods"),
    ] {
        let mut peer = Peer::start(&bench, client_id).await;
        peer.ready().await;
        let body = json!({"methodName": "modbus-reader.write", "payload": {"tag": "setpoint", "value": 4.5}});
        let answer = call(&bench, path, &body);
        let request = method(&mut peer).await;
        assert_eq!(request.name, "modbus-reader.write");
        assert_eq!(request.payload, json!({"tag": "setpoint", "value": 4.5}));
        request.respond(207, &json!({"written": 4.5})).unwrap();
        let expected = json!({"status": 207, "payload": {"written": 4.5}});
        assert_eq!(answer.await.unwrap(), (200, expected));

        // Two at once, answered the other way round; no payload.
        let first = call(&bench, path, &json!({"methodName": "first"}));
        let one = method(&mut peer).await;
        let second = call(&bench, path, &json!({"methodName": "second"}));
        let two = method(&mut peer).await;
        assert_eq!((&one.payload, two.name.as_str()), (&Value::Null, "second"));
        two.respond(404, &json!("no such tag")).unwrap();
        assert_eq!(
            second.await.unwrap().1,
            json!({"status": 404, "payload": "no such tag"})
        );
        one.respond(200, &Value::Null).unwrap();
        assert_eq!(first.await.unwrap().1["status"], 200);
        peer.client.stop().await;
        assert_eq!(
            call(&bench, path, &body).await.unwrap().1["errorCode"],
            404_103
        );
    }
}

#[tokio::test]
async fn an_answer_after_a_reconnect_is_dropped() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.ready().await;
    let path = "/devices/dev1/methods";
    let answer = call(&bench, path, &json!({"methodName": "slow"}));
    let late = method(&mut peer).await;
    bench.fault(r#"{"kind":"drop"}"#).await;
    assert_eq!(
        answer.await.unwrap().0,
        504,
        "the caller learns of the loss"
    );
    peer.disconnected().await;
    peer.ready().await;

    let next = call(&bench, path, &json!({"methodName": "next"}));
    let in_time = method(&mut peer).await;
    assert_eq!(in_time.name, "next");
    assert!(matches!(
        late.respond(200, &json!("late")),
        Err(AnswerError::ConnectionChanged)
    ));
    in_time.respond(200, &json!("in time")).unwrap();
    assert_eq!(next.await.unwrap().1["payload"], "in time");
    assert_eq!(peer.session().await.generation(), 2);
}

#[tokio::test]
async fn a_method_nobody_takes_is_answered_all_the_same() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    peer.ready().await;
    drop(peer.events);
    let (status, answer) = call(
        &bench,
        "/devices/dev1/methods",
        &json!({"methodName": "any"}),
    )
    .await
    .unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!(501)));
}

/// Answers are taken on the connection that brought the call only: a new token waits for them, as long as the old one allows.
#[tokio::test]
async fn a_renewal_waits_for_an_answer() {
    const LIFETIME: Duration = Duration::from_secs(4);
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut options = options(&bench, &login);
    options.sas_lifetime = LIFETIME;
    let begun = Instant::now();
    let mut peer = Peer::with(options);
    peer.ready().await;
    let body = json!({"methodName": "slow", "responseTimeoutInSeconds": 30});
    call(&bench, "/devices/dev1/methods", &body);
    let request = method(&mut peer).await;
    assert_eq!(peer.disconnected().await, DisconnectReason::Renewal);
    // Without a call it comes after 85 % at the latest.
    assert!(begun.elapsed() >= LIFETIME.mul_f64(0.95));
    drop(request);
}
