//! Components and subscriptions: how a module's sidecar reaches the broker and the secrets.
//!
//! A `pubsub.jetstream` component (version `v2`, image/dapr) holds one durable consumer, so each subscription has a component of
//! its own beside the one for publishing. All belong to one user of the broker, who may do no more than what they need; the
//! lists of topics in the components say the same once more, so that the sidecar refuses before the broker does.

use broker_setup::{ConsumerPlan, Plan, inbox_prefix};

use super::super::metadata::object;
use super::super::network::BROKER_PORT;
use super::super::rbac::HUB_SECRET;
use super::super::sidecar::reads_secrets;
use super::kinds::{Component, Kind, Routes, SecretKey, Setting, Subscription};
use super::{metadata, publisher};
use crate::Object;
use crate::description::{ResolvedModule, ResolvedSubscription, Topic};

const JETSTREAM: (&str, &str) = ("pubsub.jetstream", "v2");
/// The store of the hub's credentials: named as in the self-hosted system, so that one configuration document serves both.
/// Dapr's built-in store `kubernetes` reads the same.
pub(super) const SECRET_STORE: &str = "secrets";

/// The components of a module, each before the subscription that uses it.
pub(super) fn objects(namespace: &str, plan: &Plan, module: &ResolvedModule) -> Vec<Object> {
    let mut objects = Vec::new();
    if !module.publishes.is_empty() {
        objects.push(publishing(namespace, module));
    }
    for subscription in &module.subscribes {
        objects.push(subscribing(namespace, plan, module, subscription));
        if let Some(route) = &subscription.route {
            objects.push(posting(namespace, module, subscription, route));
        }
    }
    if reads_secrets(module) {
        objects.push(secret_store(namespace, module));
    }
    objects
}

/// The Secret with the seed of a module's key; made on the device by `fieldgate secrets`.
fn key_secret(module: &str) -> String {
    format!("broker-{module}")
}

fn publishing(namespace: &str, module: &ResolvedModule) -> Object {
    let name = publisher(&module.name);
    let mut settings = connection(namespace, module, &name);
    settings.push(setting(
        "publishingScopes",
        topics(&module.name, &module.publishes),
    ));
    settings.push(setting("subscriptionScopes", topics(&module.name, &[])));
    component(
        namespace,
        module,
        &name,
        JETSTREAM,
        settings,
        "What the module publishes goes through this",
    )
}

fn subscribing(
    namespace: &str,
    plan: &Plan,
    module: &ResolvedModule,
    subscription: &ResolvedSubscription,
) -> Object {
    let ResolvedSubscription {
        topic,
        component: name,
        durable,
        ..
    } = subscription;
    let mut settings = connection(namespace, module, name);
    settings.push(setting("streamName", plan.stream_of(topic.as_str())));
    settings.push(setting("durableName", durable));
    // The component updates the consumer, so both must say the same.
    if let Some(consumer) = consumer(plan, durable) {
        settings.push(setting(
            "ackWait",
            format!("{}ms", consumer.ack_wait.as_millis()),
        ));
        settings.push(setting(
            "maxAckPending",
            consumer.max_ack_pending.to_string(),
        ));
    }
    // Refused events are published through the component from which they came.
    let dead_letter: Vec<Topic> = subscription.dead_letter.into_iter().collect();
    settings.push(setting(
        "publishingScopes",
        topics(&module.name, &dead_letter),
    ));
    settings.push(setting(
        "subscriptionScopes",
        topics(&module.name, &[*topic]),
    ));
    let comment = format!("What the module receives on {topic} comes through this");
    component(namespace, module, name, JETSTREAM, settings, &comment)
}

/// A subscription whose events the sidecar posts to a path; without a path the module opens a stream itself.
fn posting(
    namespace: &str,
    module: &ResolvedModule,
    subscription: &ResolvedSubscription,
    route: &str,
) -> Object {
    let posted = Subscription {
        pubsubname: subscription.component.clone(),
        topic: subscription.topic.to_string(),
        routes: Routes {
            default: route.to_owned(),
        },
        dead_letter_topic: subscription.dead_letter.map(|topic| topic.to_string()),
    };
    let meta = metadata(namespace, module, &subscription.durable);
    let comment = format!(
        "The sidecar posts each event on {} to {route}",
        subscription.topic
    );
    object(comment, &posted.resource(meta, vec![module.name.clone()]))
}

fn secret_store(namespace: &str, module: &ResolvedModule) -> Object {
    let settings = vec![setting("defaultNamespace", namespace)];
    let comment =
        format!("Where the module reads its credentials: the Secret {HUB_SECRET} and no other");
    component(
        namespace,
        module,
        SECRET_STORE,
        ("secretstores.kubernetes", "v1"),
        settings,
        &comment,
    )
}

/// The broker, and who the module is there. Dapr's operator reads the Secret for the sidecar, which has no right to it.
fn connection(namespace: &str, module: &ResolvedModule, component: &str) -> Vec<Setting> {
    let server = format!("nats://broker.{namespace}.svc.cluster.local:{BROKER_PORT}");
    vec![
        setting("natsURL", server),
        setting("name", format!("{} {component}", module.name)),
        Setting {
            name: "nkeySeed",
            value: None,
            secret_key_ref: Some(SecretKey {
                name: key_secret(&module.name),
                key: "nkey",
            }),
        },
        // The broker lets the module listen to this inbox and no other.
        setting("inboxPrefix", inbox_prefix(&module.name)),
    ]
}

fn component(
    namespace: &str,
    module: &ResolvedModule,
    name: &str,
    (kind, version): (&'static str, &'static str),
    settings: Vec<Setting>,
    comment: &str,
) -> Object {
    let component = Component {
        kind,
        version,
        metadata: settings,
    };
    let meta = metadata(namespace, module, name);
    object(
        comment,
        &component.resource(meta, vec![module.name.clone()]),
    )
}

fn consumer<'a>(plan: &'a Plan, durable: &str) -> Option<&'a ConsumerPlan> {
    plan.consumers
        .iter()
        .find(|consumer| consumer.durable == durable)
}

fn setting(name: &'static str, value: impl Into<String>) -> Setting {
    Setting {
        name,
        value: Some(value.into()),
        secret_key_ref: None,
    }
}

/// Topics as Dapr scopes them: `app=a,b`. `app=` is none at all.
fn topics(module: &str, topics: &[Topic]) -> String {
    let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
    format!("{module}={}", names.join(","))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::super::testing::{files, find};

    fn settings(component: &Value) -> BTreeMap<String, Value> {
        let list = component["spec"]["metadata"].as_array().unwrap();
        list.iter()
            .map(|setting| {
                let name = setting["name"].as_str().unwrap().to_owned();
                let value = setting.get("value").or(setting.get("secretKeyRef"));
                (name, value.unwrap().clone())
            })
            .collect()
    }

    #[test]
    fn each_module_speaks_to_the_broker_in_its_own_name() {
        let component = find(&files(), "Component", "modbus-reader-pubsub");
        assert_eq!(component["scopes"], json!(["modbus-reader"]));
        assert_eq!(component["spec"]["version"], "v2");
        let settings = settings(&component);
        assert_eq!(
            settings["natsURL"],
            "nats://broker.fieldgate.svc.cluster.local:4222"
        );
        assert_eq!(
            settings["nkeySeed"],
            json!({"name": "broker-modbus-reader", "key": "nkey"})
        );
        assert_eq!(settings["inboxPrefix"], "_INBOX.modbus-reader");
        assert_eq!(
            settings["publishingScopes"],
            "modbus-reader=telemetry,alarms,status,deadletter"
        );
        assert_eq!(settings["subscriptionScopes"], "modbus-reader=");
    }

    #[test]
    fn subscriptions_agree_with_the_plan_of_the_broker() {
        let files = files();
        let map = find(&files, "ConfigMap", "broker-configuration");
        let plan = broker_setup::Plan::parse(map["data"]["plan.yaml"].as_str().unwrap()).unwrap();
        assert_eq!(plan.consumers.len(), 3);
        for (component, durable) in [
            ("pubsub-telemetry", "iothub-module-telemetry"),
            ("pubsub-status", "iothub-module-status"),
            ("my-filter-telemetry", "my-filter-telemetry"),
        ] {
            let settings = settings(&find(&files, "Component", component));
            let planned = super::consumer(&plan, durable).unwrap();
            assert_eq!(settings["durableName"], durable);
            assert_eq!(settings["streamName"], planned.stream.as_str());
            assert_eq!(
                settings["ackWait"],
                format!("{}ms", planned.ack_wait.as_millis())
            );
            assert_eq!(
                settings["maxAckPending"],
                planned.max_ack_pending.to_string()
            );
        }
    }

    #[test]
    fn posted_events_have_a_route_and_dead_letters() {
        let files = files();
        let subscription = find(&files, "Subscription", "my-filter-telemetry");
        assert_eq!(
            subscription["spec"],
            json!({"pubsubname": "my-filter-telemetry", "topic": "telemetry", "routes": {"default": "/events"},
                "deadLetterTopic": "deadletter"})
        );
        let settings = settings(&find(&files, "Component", "my-filter-telemetry"));
        assert_eq!(
            settings["publishingScopes"], "my-filter=deadletter",
            "refused events go through the same component"
        );
        let resiliency = find(&files, "Resiliency", "my-filter");
        assert_eq!(
            resiliency["spec"]["targets"]["components"]["my-filter-telemetry"]["inbound"],
            json!({"retry": "deliver"}),
            "without a retry the first failure would be the last"
        );
        // Ours take a stream and answer for each event.
        let hub = find(&files, "Resiliency", "iothub-module");
        let streamed = &hub["spec"]["targets"]["components"]["pubsub-telemetry"];
        assert!(streamed.get("inbound").is_none(), "{streamed}");
    }

    #[test]
    fn every_policy_that_is_named_exists() {
        for file in files() {
            for object in file
                .objects
                .iter()
                .filter(|object| object.value["kind"] == "Resiliency")
            {
                let spec = &object.value["spec"];
                let mut named = Vec::new();
                collect(&spec["targets"], &mut named);
                for (kind, name) in named {
                    let policies = match kind.as_str() {
                        "timeout" => "timeouts",
                        "retry" => "retries",
                        _ => "circuitBreakers",
                    };
                    assert!(
                        spec["policies"][policies].get(&name).is_some(),
                        "{kind} {name}: {spec}"
                    );
                }
            }
        }
    }

    fn collect(value: &Value, named: &mut Vec<(String, String)>) {
        for (key, inner) in value.as_object().into_iter().flatten() {
            match inner.as_str() {
                Some(name) => named.push((key.clone(), name.to_owned())),
                None => collect(inner, named),
            }
        }
    }
}
