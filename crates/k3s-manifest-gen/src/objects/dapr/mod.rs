//! Dapr's objects of a module: what its sidecar connects to, what it may be asked, how it bears failures.

mod components;
mod configuration;
mod kinds;
mod resiliency;

use broker_setup::Plan;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::metadata::{meta, module_labels};
use crate::Object;
use crate::description::ResolvedModule;

/// All of a module's, in the order in which a sidecar loads them.
pub(super) fn objects(namespace: &str, plan: &Plan, module: &ResolvedModule) -> Vec<Object> {
    let mut objects = vec![configuration::object_of(namespace, module)];
    objects.extend(resiliency::object_of(namespace, module));
    objects.extend(components::objects(namespace, plan, module));
    objects
}

/// The component through which a module publishes.
pub(super) fn publisher(module: &str) -> String {
    format!("{module}-pubsub")
}

fn metadata(namespace: &str, module: &ResolvedModule, name: &str) -> ObjectMeta {
    meta(namespace, name, module_labels(&module.name))
}
