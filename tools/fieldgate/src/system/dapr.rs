//! Dapr: components and configuration for each sidecar, and the command line that starts it.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use broker_setup::inbox_prefix;
use serde_json::{Value, json};

use super::binaries::Binaries;
use super::broker::{Broker, Credentials};
use super::directory::RunDirectory;
use super::ports::ModulePorts;
use super::processes::ProcessSpec;
use super::subscriptions::{Delivery, SUBSCRIPTIONS};

pub(crate) const READER_APP: &str = "modbus-reader";
pub(crate) const HUB_APP: &str = "iothub-module";
const CONFIGURATION: &str = "dapr/configuration.yaml";
const SECRETS: &str = "secrets.json";

/// Writes the secrets, the Dapr configuration and a resources folder for each application.
pub(crate) fn write_resources(
    directory: &RunDirectory,
    broker: &Broker,
    delivery: Delivery,
    connection_string: &str,
) -> Result<()> {
    let secrets = json!({
        "iothub": {"connection-string": connection_string},
        "broker": {
            READER_APP: broker.url(&broker.reader),
            HUB_APP: broker.url(&broker.hub),
        },
    });
    directory.write(SECRETS, &serde_json::to_string_pretty(&secrets)?)?;
    directory.write(CONFIGURATION, &configuration(&directory.join("names.db"))?)?;
    for (app, credentials) in [(READER_APP, &broker.reader), (HUB_APP, &broker.hub)] {
        for component in components(app, credentials, &directory.join(SECRETS), delivery) {
            let name = component["metadata"]["name"].as_str().unwrap_or_default();
            directory.write(
                &format!("dapr/{app}/{name}.yaml"),
                &serde_yaml_ng::to_string(&component)?,
            )?;
        }
    }
    Ok(())
}

fn configuration(names: &Path) -> Result<String> {
    let document = json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": {"name": "fieldgate"},
        "spec": {
            // mdns needs an interface with multicast; a shared file works on loopback alone.
            "nameResolution": {"component": "sqlite", "version": "v1", "configuration": {
                "connectionString": names.display().to_string(),
                // Its clean-up deletes the entries that are fresh (1.18.3), upon which the sidecar ends: off.
                "cleanupInterval": "0",
            }},
            "tracing": {"samplingRate": "0"},
            "metrics": {"enabled": false, "http": {"increasedCardinality": false}},
            "mtls": {"enabled": false},
        },
    });
    Ok(serde_yaml_ng::to_string(&document)?)
}

/// The components of one application. A JetStream component holds one durable consumer's name, so each subscription
/// has a component of its own, beside `pubsub` for publishing.
fn components(
    app: &'static str,
    credentials: &Credentials,
    secrets: &Path,
    delivery: Delivery,
) -> Vec<Value> {
    let jetstream = |name: &str, more: &[(&str, String)]| {
        let mut metadata = vec![
            json!({"name": "natsURL", "secretKeyRef": {"name": "broker", "key": credentials.user}}),
            json!({"name": "name", "value": format!("{app} {name}")}),
        ];
        // Upstream's component has no such setting.
        if delivery == Delivery::Pull {
            let inbox = inbox_prefix(credentials.user);
            metadata.push(json!({"name": "inboxPrefix", "value": inbox}));
        }
        metadata.extend(
            more.iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let mut component = component(name, "pubsub.jetstream", metadata, app);
        component["spec"]["version"] = json!(delivery.component_version());
        component["auth"] = json!({"secretStore": "secrets"});
        component
    };
    let mut components = vec![
        component(
            "secrets",
            "secretstores.local.file",
            vec![
                json!({"name": "secretsFile", "value": secrets}),
                json!({"name": "multiValued", "value": "true"}),
            ],
            app,
        ),
        jetstream("pubsub", &[]),
    ];
    if app == HUB_APP {
        for subscription in &SUBSCRIPTIONS {
            let metadata = subscription.metadata(delivery);
            components.extend(
                subscription
                    .components(delivery)
                    .map(|name| jetstream(&name, &metadata)),
            );
        }
    }
    components
}

fn component(name: &str, kind: &str, metadata: Vec<Value>, app: &str) -> Value {
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": name},
        "spec": {"type": kind, "version": "v1", "metadata": metadata},
        "scopes": [app],
    })
}

/// How the sidecar of `app` is started.
pub(crate) fn sidecar(
    name: &'static str,
    app: &str,
    ports: &ModulePorts,
    binaries: &Binaries,
    directory: &RunDirectory,
) -> ProcessSpec {
    let (program, part) = &binaries.daprd;
    let mut arguments: Vec<OsString> = part.iter().cloned().collect();
    let mut flag = |flag: &str, value: OsString| {
        arguments.push(format!("--{flag}").into());
        arguments.push(value);
    };
    flag("app-id", app.into());
    flag("app-port", ports.app.to_string().into());
    flag("app-protocol", "http".into());
    flag("dapr-http-port", ports.dapr_http.to_string().into());
    flag("dapr-grpc-port", ports.dapr_grpc.to_string().into());
    flag(
        "dapr-internal-grpc-port",
        ports.dapr_internal.to_string().into(),
    );
    flag("dapr-internal-grpc-listen-address", "127.0.0.1".into());
    flag("dapr-listen-addresses", "127.0.0.1".into());
    flag(
        "resources-path",
        directory.join(&format!("dapr/{app}")).into(),
    );
    flag("config", directory.join(CONFIGURATION).into());
    flag("dapr-graceful-shutdown-seconds", "1".into());
    arguments.extend(["--enable-metrics=false".into(), "--log-as-json".into()]);
    ProcessSpec {
        name,
        program: program.clone(),
        arguments,
        environment: vec![
            // What the other sidecar is told to call.
            ("DAPR_HOST_IP", "127.0.0.1".into()),
            ("NAMESPACE", "default".into()),
            ("NO_PROXY", "127.0.0.1,localhost".into()),
            ("GOMEMLIMIT", "64MiB".into()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(broker: &Broker, delivery: Delivery) -> Vec<Value> {
        components(
            HUB_APP,
            &broker.hub,
            Path::new("/run/x/secrets.json"),
            delivery,
        )
    }

    #[test]
    fn each_subscription_has_its_components() {
        let broker = Broker::new(4222);
        for (delivery, version) in [(Delivery::Pull, "v2"), (Delivery::Lanes, "v1")] {
            let hub = hub(&broker, delivery);
            for name in SUBSCRIPTIONS
                .iter()
                .flat_map(|subscription| subscription.components(delivery))
            {
                let component = hub
                    .iter()
                    .find(|component| component["metadata"]["name"] == name.as_str())
                    .unwrap();
                assert_eq!(component["spec"]["version"], version);
                assert_eq!(component["scopes"], json!([HUB_APP]));
            }
        }
        let secrets = Path::new("/run/x/secrets.json");
        let reader = components(READER_APP, &broker.reader, secrets, Delivery::Pull);
        assert_eq!(reader.len(), 2);
    }

    #[test]
    fn a_component_listens_where_the_broker_lets_its_user() {
        let broker = Broker::new(4222);
        for (delivery, expected) in [
            (Delivery::Pull, Some("_INBOX.iothub-module")),
            (Delivery::Lanes, None),
        ] {
            for component in hub(&broker, delivery) {
                if component["spec"]["type"] != "pubsub.jetstream" {
                    continue;
                }
                let settings = component["spec"]["metadata"].as_array().unwrap();
                let inbox = settings.iter().find(|one| one["name"] == "inboxPrefix");
                assert_eq!(inbox.and_then(|one| one["value"].as_str()), expected);
            }
        }
    }

    #[test]
    fn no_password_stands_in_a_component() {
        let broker = Broker::new(4222);
        for component in hub(&broker, Delivery::Pull) {
            assert!(!component.to_string().contains(&broker.hub.password));
        }
    }
}
