use std::sync::Arc;

use super::*;
use crate::configuration::Configuration;
use crate::testing::TestSidecar;

const KEY: &str = "a2V5";

fn hub(text: &str) -> HubConfiguration {
    let document = format!(
        "hub: {text}\nqueue: {{path: /q/queue.db}}\nsubscriptions: [{{pubsub: p, topic: t}}]\n"
    );
    module_runtime::load_str::<Configuration>("t.yaml", &document)
        .unwrap()
        .configuration
        .hub
        .clone()
}

async fn options(text: &str, sidecar: &Arc<TestSidecar>) -> Result<ClientOptions, String> {
    client_options(&hub(text), &**sidecar)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_secret_holds_the_connection_string() {
    let sidecar = TestSidecar::new();
    let text = "{connection_string: {store: secrets, name: iothub, key: cs}, host: 127.0.0.1, port: 18883, window: 100, keep_alive: 30s}";
    let error = options(text, &sidecar).await.unwrap_err();
    assert!(
        error.contains("secret iothub") && error.contains("\"cs\""),
        "{error}"
    );
    let string = format!("HostName=hub.example;DeviceId=d1;SharedAccessKey={KEY}\n");
    sidecar
        .secrets
        .lock()
        .unwrap()
        .insert("cs".to_owned(), string);
    let options = options(text, &sidecar).await.unwrap();
    assert_eq!(
        (
            options.hub_name.as_str(),
            options.host.as_str(),
            options.port
        ),
        ("hub.example", "127.0.0.1", 18883)
    );
    assert_eq!(
        (
            options.window,
            options.keep_alive.as_secs(),
            options.identity.device()
        ),
        (100, 30, "d1")
    );
}

#[tokio::test]
async fn files_hold_the_connection_string_the_key_and_the_ca() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let string = write(
        "cs",
        &format!(
            "HostName=hub.example;DeviceId=d1;ModuleId=m1;SharedAccessKey={KEY};GatewayHostName=gate\n"
        ),
    );
    let (key, ca) = (write("key", &format!("{KEY}\n")), write("ca", "PEM"));
    let sidecar = TestSidecar::new();
    let from_string = options(
        &format!("{{connection_string_file: {string}, ca_file: {ca}}}"),
        &sidecar,
    )
    .await
    .unwrap();
    assert_eq!(
        (from_string.host.as_str(), from_string.identity.module()),
        ("gate", Some("m1"))
    );
    assert_eq!(from_string.trust, Trust::Pem(b"PEM".to_vec()));
    let from_parts = options(
        &format!("{{name: hub.example, device: d2, key_file: {key}}}"),
        &sidecar,
    )
    .await
    .unwrap();
    assert_eq!(
        (from_parts.host.as_str(), from_parts.identity.device()),
        ("hub.example", "d2")
    );
}

#[tokio::test]
async fn an_error_names_its_place_but_not_the_secret() {
    let sidecar = TestSidecar::new();
    sidecar.secrets.lock().unwrap().insert(
        "iothub".to_owned(),
        "HostName=h;DeviceId=d;SharedAccessKey=hunter2!".to_owned(),
    );
    let error = options("{connection_string: {store: s, name: iothub}}", &sidecar)
        .await
        .unwrap_err();
    assert!(
        error.contains("secret iothub of secret store s") && !error.contains("hunter2"),
        "{error}"
    );
    let error = options("{connection_string_file: /nowhere/cs}", &sidecar)
        .await
        .unwrap_err();
    assert!(error.contains("/nowhere/cs"), "{error}");
}
