//! The namespace of the modules and what holds in all of it.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::metadata::{MODULES_LABEL, cluster_meta, labels, object};
use super::{admission, network, storage};
use crate::{Appliance, ManifestFile, Object, Ownership};

/// The Kubernetes release whose Pod Security standard is enforced: pinned, so that an update of k3s refuses no pod that ran
/// before.
const POD_SECURITY_VERSION: &str = "v1.34";

/// Who runs when the node cannot hold everything: (name, value, who it is for). Kubernetes keeps what is above 1,000,000,000 for
/// itself.
const PRIORITIES: [(&str, i32, &str); 3] = [
    (
        BROKER_PRIORITY,
        1_000_000,
        "The broker: without it no event gets anywhere",
    ),
    (
        SYSTEM_PRIORITY,
        900_000,
        "Modules of the appliance itself: iothub-module holds the way to the cloud",
    ),
    (MODULE_PRIORITY, 800_000, "All other modules"),
];
pub(super) const BROKER_PRIORITY: &str = "fieldgate-broker";
pub(super) const SYSTEM_PRIORITY: &str = "fieldgate-system";
pub(super) const MODULE_PRIORITY: &str = "fieldgate-module";

/// `fieldgate-appliance.yaml`.
pub(super) fn file(appliance: &Appliance) -> ManifestFile {
    // Before the namespace: no pod of it can come into being before the policy is there.
    let mut objects = admission::objects().to_vec();
    objects.push(namespace(&appliance.namespace));
    objects.extend(PRIORITIES.map(|(name, value, comment)| priority(name, value, comment)));
    objects.push(storage::class());
    objects.extend(network::of_namespace(&appliance.namespace));
    ManifestFile {
        name: "fieldgate-appliance.yaml".to_owned(),
        purpose:
            "The namespace of the modules and the broker, and the rules that hold in all of it."
                .to_owned(),
        ownership: Ownership::Generated,
        objects,
    }
}

fn namespace(name: &str) -> Object {
    let mut labels = labels(name, "namespace");
    labels.insert(MODULES_LABEL.to_owned(), "true".to_owned());
    for mode in ["enforce", "audit", "warn"] {
        let key = format!("pod-security.kubernetes.io/{mode}");
        labels.insert(format!("{key}-version"), POD_SECURITY_VERSION.to_owned());
        labels.insert(key, "restricted".to_owned());
    }
    let namespace = Namespace {
        metadata: cluster_meta(name, labels),
        ..Namespace::default()
    };
    object(
        "Only pods without privileges; the injector serves it",
        &namespace,
    )
}

fn priority(name: &str, value: i32, comment: &str) -> Object {
    let class = PriorityClass {
        metadata: cluster_meta(name, labels(name, "priority")),
        value,
        global_default: Some(false),
        preemption_policy: Some("PreemptLowerPriority".to_owned()),
        description: Some(format!("{comment}.")),
    };
    object(comment, &class)
}
