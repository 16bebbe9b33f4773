//! The broker: nats-server and, beside it in the same pod, the set-up of its streams.

use std::collections::BTreeMap;

use broker_setup::Plan;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMap, Container, EnvVar, EnvVarSource, ObjectFieldSelector,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSpec,
    PodTemplateSpec, ResourceRequirements, Service, ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use module_runtime::configuration::sha256;

use super::broker_configuration::{KEYS, MONITOR_PORT, PEERS, STORE, configuration, keys, routes};
use super::container::{port, probe, secret_variable, variable};
use super::metadata::{amount, bytes, go_bytes, labels, meta, object, selector, service_account};
use super::metrics::{self, service_port};
use super::namespace::BROKER_PRIORITY;
use super::network::{self, BROKER_METRICS_PORT, BROKER_PEER_PORT, BROKER_PORT, broker_labels};
use super::volumes::{config_map, mount};
use super::{security, storage};
use crate::description::ResolvedModule;
use crate::{Appliance, ManifestFile, Object, Ownership};

pub(super) const NAME: &str = "broker";
const CONFIGURATION: &str = "broker-configuration";
const CONFIGURATION_FOLDER: &str = "/etc/fieldgate/broker";
/// On the pod: another configuration of the server makes another pod. Another plan does not, the set-up reads it again.
const CHECKSUM: &str = "fieldgate.io/configuration-sha256";
/// Only the server itself is asked, not its disk: a disk that is slow for a while is no reason to end it.
const ALIVE: &str = "/healthz?js-server-only=true";
/// JetStream has read its streams from the disk. Whether they take events, the set-up's own probe tells.
const STARTED: &str = "/healthz?js-enabled-only=true";

/// Streams on their way from one server to three, or back (docs/operate/three-nodes.md).
const SAVED: &str = "/data/saved";
/// The number of a StatefulSet's pod.
const POD_INDEX: &str = "metadata.labels['apps.kubernetes.io/pod-index']";

/// `fieldgate-broker.yaml`.
pub(super) fn file(appliance: &Appliance, plan: &Plan, modules: &[ResolvedModule]) -> ManifestFile {
    let namespace = &appliance.namespace;
    let replicas = appliance.broker.replicas;
    let own = labels(NAME, NAME);
    let nats = configuration(appliance, plan, modules).to_string();
    let mut objects = vec![
        object(
            "The broker's account, without any right",
            &service_account(namespace, NAME, own.clone()),
        ),
        network::of_broker(namespace, replicas),
    ];
    for number in 0..replicas {
        let claim = format!("data-broker-{number}");
        objects.extend(storage::volume(
            namespace,
            &claim,
            appliance.broker.storage,
            &own,
            appliance.nodes.get(usize::from(number)).map(String::as_str),
            "the broker's streams",
        ));
    }
    objects.push(configuration_map(namespace, plan, &nats));
    objects.push(stateful_set(appliance, modules, &nats));
    objects.push(client_service(namespace));
    objects.push(peer_service(namespace));
    objects.push(metrics::service(
        namespace,
        NAME,
        BROKER_METRICS_PORT,
        own,
        broker_labels(),
    ));
    // One server has nothing to spare: a budget would only keep a node from being drained.
    if replicas > 1 {
        objects.push(disruption_budget(namespace));
    }
    ManifestFile {
        name: "fieldgate-broker.yaml".to_owned(),
        purpose: "The broker between the modules, with its storage and the rights of each module."
            .to_owned(),
        ownership: Ownership::Generated,
        objects,
    }
}

fn configuration_map(namespace: &str, plan: &Plan, nats: &str) -> Object {
    // A plan is texts and numbers only, so writing it does not fail; an empty one would be refused by the set-up.
    let plan = plan.to_yaml().unwrap_or_default();
    let map = ConfigMap {
        metadata: meta(namespace, CONFIGURATION, labels(NAME, NAME)),
        data: Some(BTreeMap::from([
            ("nats.conf".to_owned(), nats.to_owned()),
            ("plan.yaml".to_owned(), plan),
        ])),
        ..ConfigMap::default()
    };
    object(
        "nats.conf: users and rights, keys by name of their environment variable; plan.yaml: streams and consumers",
        &map,
    )
}

fn stateful_set(appliance: &Appliance, modules: &[ResolvedModule], nats: &str) -> Object {
    let replicas = appliance.broker.replicas;
    let own = labels(NAME, NAME);
    let pod = PodSpec {
        service_account_name: Some(NAME.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        priority_class_name: Some(BROKER_PRIORITY.to_owned()),
        termination_grace_period_seconds: Some(30),
        security_context: Some(security::pod(true, None)),
        affinity: (replicas > 1).then(apart),
        containers: vec![server(appliance, modules), setup(appliance)],
        volumes: Some(vec![config_map("configuration", CONFIGURATION)]),
        ..PodSpec::default()
    };
    let set = StatefulSet {
        metadata: meta(&appliance.namespace, NAME, own.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(replicas)),
            service_name: Some(PEERS.to_owned()),
            selector: selector(broker_labels()),
            revision_history_limit: Some(2),
            // Servers of a cluster need each other to get ready.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(own),
                    annotations: Some(BTreeMap::from([(
                        CHECKSUM.to_owned(),
                        sha256(nats.as_bytes()),
                    )])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            volume_claim_templates: Some(vec![claim_template()]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    object(
        "The broker; it counts as ready when its streams and consumers are there",
        &set,
    )
}

/// Never used: the claims of its names are above. It cannot be changed once it is there, so no size of the description stands
/// in it.
fn claim_template() -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), amount("1Gi"))])),
                limits: None,
            }),
            storage_class_name: Some(storage::CLASS.to_owned()),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn server(appliance: &Appliance, modules: &[ResolvedModule]) -> Container {
    let memory = appliance.broker.memory;
    let mut environment = vec![pod_variable("POD_NAME", "metadata.name")];
    // The heap may take the half: what a burst holds comes on top before the collector has run.
    environment.push(variable("GOMEMLIMIT", go_bytes(memory.get() / 2)));
    environment.extend(keys(modules));
    environment.extend(routes(appliance));
    let mut ports = vec![port("nats", BROKER_PORT), port("monitor", MONITOR_PORT)];
    if appliance.broker.replicas > 1 {
        ports.push(port("peers", BROKER_PEER_PORT));
    }
    let image = appliance.broker.image.clone();
    Container {
        name: NAME.to_owned(),
        image: Some(image.unwrap_or_else(|| appliance.own_image("broker"))),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec![
            "--config".to_owned(),
            format!("{CONFIGURATION_FOLDER}/nats.conf"),
        ]),
        env: Some(environment),
        ports: Some(ports),
        resources: Some(ResourceRequirements {
            limits: Some(BTreeMap::from([
                ("cpu".to_owned(), amount("2")),
                ("memory".to_owned(), bytes(memory)),
            ])),
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), amount("50m")),
                (
                    "memory".to_owned(),
                    amount(format!("{}Mi", (memory.get() >> 20) / 2)),
                ),
            ])),
            claims: None,
        }),
        security_context: Some(security::container()),
        // Five minutes to read its streams after a power cut.
        startup_probe: Some(probe(MONITOR_PORT, STARTED, 2, 150)),
        liveness_probe: Some(probe(MONITOR_PORT, ALIVE, 10, 6)),
        readiness_probe: Some(probe(MONITOR_PORT, STARTED, 5, 3)),
        volume_mounts: Some(vec![
            mount("configuration", CONFIGURATION_FOLDER, true),
            mount("data", STORE, false),
        ]),
        ..Container::default()
    }
}

fn setup(appliance: &Appliance) -> Container {
    let image = appliance.broker.setup_image.clone();
    let mut environment = vec![secret_variable("NKEY_SETUP_SEED", KEYS, "setup")];
    if appliance.broker.replicas > 1 {
        // One of them makes the streams; the others wait for it, so that none is made before the first has restored what was saved.
        environment.push(pod_variable("FIELDGATE_SERVER_NUMBER", POD_INDEX));
    }
    Container {
        name: "setup".to_owned(),
        image: Some(image.unwrap_or_else(|| appliance.own_image("broker-setup"))),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec![
            "--saved".to_owned(),
            SAVED.to_owned(),
            format!("{CONFIGURATION_FOLDER}/plan.yaml"),
        ]),
        env: Some(environment),
        ports: Some(vec![port("metrics", BROKER_METRICS_PORT)]),
        resources: Some(ResourceRequirements {
            limits: Some(BTreeMap::from([
                ("cpu".to_owned(), amount("500m")),
                ("memory".to_owned(), amount("48Mi")),
            ])),
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), amount("10m")),
                ("memory".to_owned(), amount("8Mi")),
            ])),
            claims: None,
        }),
        security_context: Some(security::container()),
        liveness_probe: Some(probe(BROKER_METRICS_PORT, "/healthz", 10, 6)),
        // Nothing can be published before the consumers are there: an event without any is not kept.
        readiness_probe: Some(probe(BROKER_METRICS_PORT, "/readyz", 2, 3)),
        volume_mounts: Some(vec![
            mount("configuration", CONFIGURATION_FOLDER, true),
            mount("data", STORE, false),
        ]),
        ..Container::default()
    }
}

fn pod_variable(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                api_version: Some("v1".to_owned()),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// Two servers on one node would go down together.
fn apart() -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![PodAffinityTerm {
                label_selector: Some(selector(broker_labels())),
                topology_key: "kubernetes.io/hostname".to_owned(),
                ..PodAffinityTerm::default()
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn client_service(namespace: &str) -> Object {
    let service = Service {
        metadata: meta(namespace, NAME, labels(NAME, NAME)),
        spec: Some(ServiceSpec {
            selector: Some(broker_labels()),
            ports: Some(vec![service_port("nats", BROKER_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    object(
        "Where sidecars reach the broker: nobody is there until it is ready",
        &service,
    )
}

fn peer_service(namespace: &str) -> Object {
    let service = Service {
        metadata: meta(namespace, PEERS, labels(NAME, NAME)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(broker_labels()),
            ports: Some(vec![service_port("peers", BROKER_PEER_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    object("Names of the broker's servers, for each other", &service)
}

fn disruption_budget(namespace: &str) -> Object {
    let budget = PodDisruptionBudget {
        metadata: meta(namespace, NAME, labels(NAME, NAME)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(broker_labels())),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    object(
        "One server at a time may be taken away: the others hold the majority",
        &budget,
    )
}
