//! What all objects share: names, labels and the way from a type to a value.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use module_runtime::configuration::ByteSize;
use serde::Serialize;
use serde_json::Value;

use crate::Object;
use crate::description::{self, ResolvedModule};

/// User and group of every program.
pub(super) const USER: i64 = 65_532;
/// Marks namespaces with modules: the injector and the admission policy look at them.
pub(super) const MODULES_LABEL: &str = "fieldgate.io/modules";
/// On pods that must not run without a sidecar; the injector's webhook selects by it.
pub(super) const SIDECAR_LABEL: &str = "fieldgate.io/sidecar";
/// On every pod of a module, with the module's name.
pub(super) const MODULE_LABEL: &str = "fieldgate.io/module";
/// On namespaces whose pods may read metrics.
pub(super) const MONITORING_LABEL: &str = "fieldgate.io/monitoring";
/// On nodes that hold volumes.
pub(super) const STORAGE_LABEL: &str = "fieldgate.io/storage";
/// On every node: its name.
pub(super) const HOST_LABEL: &str = "kubernetes.io/hostname";
/// The product, in `part-of` and `managed-by`.
const PRODUCT: &str = "fieldgate";

/// Labels by key.
pub(super) type Labels = BTreeMap<String, String>;

/// Labels of an object that belongs to one part of the appliance.
pub(super) fn labels(name: &str, component: &str) -> Labels {
    map([
        ("app.kubernetes.io/name", name),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/part-of", PRODUCT),
        ("app.kubernetes.io/managed-by", PRODUCT),
    ])
}

/// Labels of an object that belongs to a module.
pub(super) fn module_labels(module: &str) -> Labels {
    let mut labels = labels(module, "module");
    labels.insert(MODULE_LABEL.to_owned(), module.to_owned());
    labels
}

/// Selects the pods of a module.
pub(super) fn module_selector(module: &str) -> Labels {
    map([(MODULE_LABEL, module)])
}

/// Name, namespace and labels of an object of a namespace.
pub(super) fn meta(namespace: &str, name: impl Into<String>, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// Name and labels of an object of the whole cluster.
pub(super) fn cluster_meta(name: impl Into<String>, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// A map of texts.
pub(super) fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A selector by labels.
pub(super) fn selector(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// A size as an amount of Kubernetes.
pub(super) fn bytes(size: ByteSize) -> Quantity {
    Quantity(description::quantity(size))
}

/// An amount as Kubernetes writes it.
pub(super) fn amount(text: impl Into<String>) -> Quantity {
    Quantity(text.into())
}

/// Sizes as Go's memory limit has them: `64MiB`.
pub(super) fn go_bytes(bytes: u64) -> String {
    format!("{}MiB", bytes >> 20)
}

/// An object of a type, with what it is for.
pub(super) fn object(comment: impl Into<String>, typed: &impl Serialize) -> Object {
    Object::new(comment, value(typed))
}

/// A type as a value. All of our types have texts for keys and no number that JSON cannot hold, so this does not fail.
pub(super) fn value(typed: &impl Serialize) -> Value {
    serde_json::to_value(typed).unwrap_or_default()
}

/// The account of a module's pods. It has a token for nobody but whom one is mounted for by name: Dapr's own for its
/// identity, and that of a sidecar that reads secrets.
pub(super) fn service_account(namespace: &str, name: &str, labels: Labels) -> ServiceAccount {
    ServiceAccount {
        metadata: meta(namespace, name, labels),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The ConfigMap with a module's configuration document.
pub(super) fn configuration_name(module: &ResolvedModule) -> String {
    format!("{}-configuration", module.name)
}
