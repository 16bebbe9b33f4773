//! Accounts of the modules and the one right to the API server that there is: the hub's credentials for iothub-module's
//! sidecar.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::metadata::{meta, module_labels, object, service_account};
use super::sidecar::reads_secrets;
use crate::Object;
use crate::description::ResolvedModule;

/// The Secret with the hub's credentials; made on the device by `fieldgate secrets`.
pub(super) const HUB_SECRET: &str = "iothub";

/// The account of a module, and its rights.
pub(super) fn objects(namespace: &str, module: &ResolvedModule) -> Vec<Object> {
    let labels = module_labels(&module.name);
    let account = service_account(namespace, &module.name, labels.clone());
    let mut objects = vec![object(
        "Who the module is; Dapr's sentry makes its identity from it",
        &account,
    )];
    if !reads_secrets(module) {
        return objects;
    }
    let name = format!("{}-secrets", module.name);
    let role = Role {
        metadata: meta(namespace, &name, labels.clone()),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["secrets".to_owned()]),
            resource_names: Some(vec![HUB_SECRET.to_owned()]),
            verbs: vec!["get".to_owned()],
            non_resource_urls: None,
        }]),
    };
    let binding = RoleBinding {
        metadata: meta(namespace, &name, labels),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name,
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: module.name.clone(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]),
    };
    objects.push(object(
        "May read the hub's credentials and no other Secret",
        &role,
    ));
    objects.push(object(
        "Gives the right above to the module's account",
        &binding,
    ));
    objects
}
