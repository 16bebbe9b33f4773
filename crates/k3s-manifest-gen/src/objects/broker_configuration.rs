//! What the broker is told: the plan of its streams and consumers, and its users with their rights.

use std::time::Duration;

use broker_setup::{
    Cluster, Login, NatsConfiguration, Plan, StreamLimits, Text, User, nkey_variable,
};
use k8s_openapi::api::core::v1::EnvVar;

use super::broker::NAME;
use super::container::{secret_variable, variable};
use super::network::{BROKER_PEER_PORT, BROKER_PORT};
use crate::Appliance;
use crate::description::ResolvedModule;

/// The port of nats-server's own monitoring; for the kubelet only.
pub(super) const MONITOR_PORT: u16 = 8222;
/// The folder of the streams: the broker's volume.
pub(super) const STORE: &str = "/data";
/// The Secret with the broker's keys: `setup` (seed), `setup-public`, and the public key of each module.
pub(super) const KEYS: &str = "broker-keys";
/// The headless Service of the servers.
pub(super) const PEERS: &str = "broker-peers";
/// The key of that Secret with the password of the servers among themselves.
const ROUTES_KEY: &str = "routes";
const ROUTES_VARIABLE: &str = "BROKER_ROUTES";
/// What of the volume is not for streams.
const RESERVE: u64 = 32 << 20;
/// Deliveries at once to a module to which the sidecar posts: each is an HTTP call of its own.
const POSTED_AT_ONCE: u32 = 64;

/// The plan for the set-up, and for the rights and components that must agree with it.
pub(super) fn plan(appliance: &Appliance, modules: &[ResolvedModule]) -> Plan {
    let broker = &appliance.broker;
    let limits = StreamLimits {
        events: broker.streams.events.get(),
        kept: broker.streams.kept.get(),
        kept_for: Duration::from_millis(broker.streams.kept_for.as_millis()),
    };
    let subscriptions: Vec<_> = modules
        .iter()
        .flat_map(|module| {
            let topics = module.subscribes.iter().map(|one| one.topic.as_str());
            topics.map(|topic| (module.name.as_str(), topic))
        })
        .collect();
    let mut plan = Plan::standard(&limits, &subscriptions, broker.replicas);
    let posted: Vec<&str> = modules
        .iter()
        .flat_map(|module| &module.subscribes)
        .filter(|one| one.route.is_some())
        .map(|one| one.durable.as_str())
        .collect();
    for consumer in &mut plan.consumers {
        if posted.contains(&consumer.durable.as_str()) {
            consumer.max_ack_pending = POSTED_AT_ONCE;
        }
    }
    plan
}

/// nats-server's configuration. Keys come from the environment ([`keys`]).
pub(super) fn configuration(
    appliance: &Appliance,
    plan: &Plan,
    modules: &[ResolvedModule],
) -> NatsConfiguration {
    let mut configuration = NatsConfiguration::new(plan, format!("0.0.0.0:{BROKER_PORT}"), STORE);
    configuration.server_name = Text::Variable("POD_NAME".to_owned());
    configuration.monitor = Some(format!("0.0.0.0:{MONITOR_PORT}"));
    // The description is refused where the streams do not fit into this.
    configuration.max_file_store = appliance.broker.storage.get().saturating_sub(RESERVE);
    configuration.users = vec![User::setup(Login::nkey_of("setup"))];
    configuration.users.extend(modules.iter().map(|module| {
        let publishes: Vec<&str> = module
            .publishes
            .iter()
            .map(|topic| topic.as_str())
            .collect();
        let subscribes: Vec<&str> = module
            .subscribes
            .iter()
            .map(|one| one.topic.as_str())
            .collect();
        let login = Login::nkey_of(&module.name);
        User::module(login, plan, &module.name, &publishes, &subscribes)
    }));
    let replicas = appliance.broker.replicas;
    configuration.cluster = (replicas > 1).then(|| Cluster {
        name: "fieldgate".to_owned(),
        listen: format!("0.0.0.0:{BROKER_PEER_PORT}"),
        user: NAME.to_owned(),
        password: Text::Variable(ROUTES_VARIABLE.to_owned()),
        routes: (0..replicas)
            .map(|number| Text::Variable(route_variable(number)))
            .collect(),
    });
    configuration
}

/// The environment variables with the public keys that the configuration names. A key that the Secret does not have keeps the
/// broker from starting, and the pod's events name it.
pub(super) fn keys(modules: &[ResolvedModule]) -> Vec<EnvVar> {
    let mut keys = vec![secret_variable(
        &nkey_variable("setup"),
        KEYS,
        "setup-public",
    )];
    keys.extend(
        modules
            .iter()
            .map(|module| secret_variable(&nkey_variable(&module.name), KEYS, &module.name)),
    );
    keys
}

/// The password of the servers of a cluster among themselves, and with it the address of each: the configuration cannot put a password
/// from the environment into an address. Nothing for a server that is alone.
pub(super) fn routes(appliance: &Appliance) -> Vec<EnvVar> {
    let replicas = appliance.broker.replicas;
    if replicas < 2 {
        return Vec::new();
    }
    let namespace = &appliance.namespace;
    let mut variables = vec![secret_variable(ROUTES_VARIABLE, KEYS, ROUTES_KEY)];
    variables.extend((0..replicas).map(|number| {
        let host = format!("{NAME}-{number}.{PEERS}.{namespace}.svc.cluster.local");
        variable(
            &route_variable(number),
            format!("nats://{NAME}:$({ROUTES_VARIABLE})@{host}:{BROKER_PEER_PORT}"),
        )
    }));
    variables
}

fn route_variable(number: u8) -> String {
    format!("BROKER_ROUTE_{number}")
}
