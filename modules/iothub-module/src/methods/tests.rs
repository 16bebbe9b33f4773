use crate::configuration::{AllowedMethod, CommandsConfiguration};
use crate::testing::TestSidecar;

use super::*;

const DOCUMENT: &str = "hub: {connection_string_file: /secret}\nqueue: {path: /q/queue.db}\nsubscriptions: [{pubsub: p, topic: t}]\n";

fn methods(sidecar: Arc<TestSidecar>) -> (Arc<Methods>, watch::Sender<Arc<Configuration>>) {
    let loaded = module_runtime::load_str::<Configuration>("t.yaml", DOCUMENT).unwrap();
    let mut configuration = Configuration::clone(&loaded.configuration);
    let allowed = |method: &str| AllowedMethod {
        method: method.to_owned(),
        deadline: "10s".parse().unwrap(),
    };
    configuration.commands = CommandsConfiguration {
        allow: vec![allowed("modbus-reader.write")],
    };
    let (sender, receiver) = watch::channel(Arc::new(configuration));
    let sidecar: Arc<dyn Sidecar> = sidecar;
    (
        Arc::new(Methods::new(
            sidecar,
            receiver,
            Box::new(|| json!({"ready": true})),
        )),
        sender,
    )
}

fn replying(status: u16, body: &'static [u8]) -> Arc<TestSidecar> {
    TestSidecar::with_invoke(Duration::ZERO, move |_, _, _| {
        Ok(InvokeReply {
            status,
            body: Bytes::from_static(body),
        })
    })
}

async fn answer(sidecar: Arc<TestSidecar>, name: &str, payload: Value) -> (u16, Value) {
    let (methods, _configuration) = methods(sidecar);
    let answer = methods.answer(name, &payload).await;
    (answer.status, answer.payload)
}

fn code(payload: &Value) -> &str {
    payload["error"]["code"].as_str().unwrap_or_default()
}

#[test]
fn names_are_split_at_the_dot() {
    assert_eq!(
        split("modbus-reader.write"),
        Some(("modbus-reader", "write"))
    );
    for other in ["write", ".write", "a.", "a.b.c", "a.b/c", "a b.c", ""] {
        assert_eq!(split(other), None, "{other}");
    }
}

#[tokio::test]
async fn an_allowed_method_reaches_its_application_and_the_answer_comes_back() {
    let sidecar = TestSidecar::with_invoke(Duration::ZERO, |app, method, body| {
        let text = format!(
            r#"{{"called":"{app}/{method}","with":{}}}"#,
            std::str::from_utf8(body).unwrap()
        );
        Ok(InvokeReply {
            status: 200,
            body: text.into(),
        })
    });
    let (status, payload) = answer(
        Arc::clone(&sidecar),
        "modbus-reader.write",
        json!({"value": 7}),
    )
    .await;
    assert_eq!(
        (status, payload),
        (
            200,
            json!({"called": "modbus-reader/write", "with": {"value": 7}})
        )
    );
    let (_, payload) = answer(sidecar, "modbus-reader.write", Value::Null).await;
    assert_eq!(payload["with"], json!({}), "no payload is an empty object");
}

#[tokio::test]
async fn what_the_caller_can_mend_keeps_its_status_and_body() {
    let refusal =
        br#"{"error":{"code":"out-of-range","message":"value 400 is above 300","field":"value"}}"#;
    let (status, payload) =
        answer(replying(422, refusal), "modbus-reader.write", Value::Null).await;
    assert_eq!((status, &payload["error"]["field"]), (422, &json!("value")));
}

#[tokio::test]
async fn answers_that_are_not_json_are_wrapped() {
    let (status, payload) =
        answer(replying(500, b"boom"), "modbus-reader.write", Value::Null).await;
    assert_eq!((status, payload), (500, json!({"text": "boom"})));
    let (_, payload) = answer(replying(200, b""), "modbus-reader.write", Value::Null).await;
    assert_eq!(payload, Value::Null);
}

#[tokio::test]
async fn everything_else_is_refused() {
    let (status, payload) = answer(TestSidecar::new(), "modbus-reader.reboot", Value::Null).await;
    assert_eq!((status, code(&payload)), (403, "not-allowed"));
    let (status, payload) = answer(TestSidecar::new(), "reboot", Value::Null).await;
    assert_eq!((status, code(&payload)), (404, "unknown-method"));
}

#[tokio::test]
async fn built_in_methods_answer_without_a_sidecar() {
    let (status, payload) = answer(TestSidecar::new(), "ping", Value::Null).await;
    assert_eq!((status, &payload["pong"]), (200, &json!(true)));
    assert!(payload["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        answer(TestSidecar::new(), "status", Value::Null).await,
        (200, json!({"ready": true}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_504_and_a_missing_sidecar_503() {
    let slow = TestSidecar::with_invoke(Duration::from_secs(11), |_, _, _| {
        Ok(InvokeReply {
            status: 200,
            body: Bytes::new(),
        })
    });
    let (status, payload) = answer(slow, "modbus-reader.write", Value::Null).await;
    assert_eq!((status, code(&payload)), (504, "deadline"));
    let away = TestSidecar::with_invoke(Duration::ZERO, |_, _, _| {
        Err(SidecarError::Unavailable("connection refused".to_owned()))
    });
    let (status, payload) = answer(away, "modbus-reader.write", Value::Null).await;
    assert_eq!((status, code(&payload)), (503, "unavailable"));
    let no_app =
        br#"{"errorCode":"ERR_DIRECT_INVOKE","message":"couldn't find service: modbus-reader"}"#;
    let (status, payload) = answer(replying(500, no_app), "modbus-reader.write", Value::Null).await;
    assert_eq!((status, code(&payload)), (503, "unavailable"));
}

#[tokio::test(start_paused = true)]
async fn calls_at_the_same_time_are_bounded() {
    let slow = TestSidecar::with_invoke(Duration::from_secs(5), |_, _, _| {
        Ok(InvokeReply {
            status: 200,
            body: Bytes::new(),
        })
    });
    let (methods, _configuration) = methods(slow);
    let calls = (0..AT_ONCE + 3).map(|_| {
        let methods = Arc::clone(&methods);
        async move {
            methods
                .answer("modbus-reader.write", &Value::Null)
                .await
                .status
        }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        AT_ONCE
    );
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 3);
}

#[tokio::test]
async fn an_answer_beyond_the_hubs_limit_becomes_an_error() {
    let sidecar = TestSidecar::with_invoke(Duration::ZERO, |_, _, _| {
        Ok(InvokeReply {
            status: 200,
            body: Bytes::from(format!("\"{}\"", "x".repeat(METHOD_PAYLOAD_BYTES))),
        })
    });
    let (status, payload) = answer(sidecar, "modbus-reader.write", Value::Null).await;
    assert_eq!((status, code(&payload)), (502, "reply-too-large"));
}

#[tokio::test]
async fn a_new_configuration_counts_at_the_next_call() {
    let (methods, configuration) = methods(TestSidecar::new());
    assert_eq!(
        methods
            .answer("modbus-reader.write", &Value::Null)
            .await
            .status,
        200
    );
    configuration.send_modify(|configuration| Arc::make_mut(configuration).commands.allow.clear());
    assert_eq!(
        methods
            .answer("modbus-reader.write", &Value::Null)
            .await
            .status,
        403
    );
}
