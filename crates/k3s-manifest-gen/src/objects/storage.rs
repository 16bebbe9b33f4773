//! Volumes: static, on the node's own disk, and never deleted by Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
    VolumeNodeAffinity, VolumeResourceRequirements,
};
use k8s_openapi::api::storage::v1::StorageClass;
use module_runtime::configuration::ByteSize;

use super::metadata::{
    HOST_LABEL, Labels, STORAGE_LABEL, bytes, cluster_meta, labels, meta, object,
};
use crate::Object;

/// The class of all volumes here.
pub(super) const CLASS: &str = "fieldgate-local";
/// Where the volumes are on the node; `fieldgate install` makes one folder for each claim, by the claim's name.
const VOLUMES: &str = "/var/lib/fieldgate/volumes";

/// The class: no provisioner, volumes are made by hand.
pub(super) fn class() -> Object {
    let class = StorageClass {
        metadata: cluster_meta(CLASS, labels(CLASS, "storage")),
        provisioner: "kubernetes.io/no-provisioner".to_owned(),
        reclaim_policy: Some("Retain".to_owned()),
        // A claim's size cannot be changed at all without; the size of a folder is no more than a figure.
        allow_volume_expansion: Some(true),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        ..StorageClass::default()
    };
    object("Folders on the disk of the node", &class)
}

/// A volume and the claim that gets it, and nobody else. With several nodes, `node` is the one with the folder: each has its own of that
/// name, and two pods in two of them would both hold the lock.
pub(super) fn volume(
    namespace: &str,
    claim: &str,
    size: ByteSize,
    labels: &Labels,
    node: Option<&str>,
    what: &str,
) -> [Object; 2] {
    let name = format!("{namespace}-{claim}");
    let mut place = vec![requirement(STORAGE_LABEL, "true")];
    place.extend(node.map(|node| requirement(HOST_LABEL, node)));
    // One node at a time, not one pod: a rolling update has two pods on the volume for a moment.
    let access = vec!["ReadWriteOnce".to_owned()];
    let capacity = BTreeMap::from([("storage".to_owned(), bytes(size))]);
    let volume = PersistentVolume {
        metadata: cluster_meta(&name, labels.clone()),
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(access.clone()),
            capacity: Some(capacity.clone()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(claim.to_owned()),
                ..ObjectReference::default()
            }),
            local: Some(LocalVolumeSource {
                path: format!("{VOLUMES}/{claim}"),
                fs_type: None,
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(place),
                        match_fields: None,
                    }],
                }),
            }),
            persistent_volume_reclaim_policy: Some("Retain".to_owned()),
            storage_class_name: Some(CLASS.to_owned()),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    };
    let claimed = PersistentVolumeClaim {
        metadata: meta(namespace, claim, labels.clone()),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access),
            resources: Some(VolumeResourceRequirements {
                requests: Some(capacity),
                limits: None,
            }),
            storage_class_name: Some(CLASS.to_owned()),
            volume_mode: Some("Filesystem".to_owned()),
            volume_name: Some(name),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    [
        object(
            format!("A folder on the node for {what}; it stays when everything else goes"),
            &volume,
        ),
        object("Takes the folder above", &claimed),
    ]
}

fn requirement(label: &str, value: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: label.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![value.to_owned()]),
    }
}

/// The claim of the folder with the host's socket (image/rootfs, fieldgate-agent.socket).
pub(super) fn host_claim(module: &str) -> String {
    format!("{module}-host")
}

/// The claim of a module's state.
pub(super) fn state_claim(module: &str) -> String {
    format!("{module}-state")
}
