//! The Deployment of a module.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use module_runtime::configuration::sha256;

use super::container;
use super::metadata::{
    HOST_LABEL, Labels, SIDECAR_LABEL, meta, module_labels, module_selector, object, selector,
};
use super::namespace::{MODULE_PRIORITY, SYSTEM_PRIORITY};
use super::security;
use super::sidecar;
use super::volumes::Volumes;
use crate::description::{Known, ResolvedModule};
use crate::{Appliance, Object};

/// Seconds from SIGTERM to SIGKILL: the module's time, then the sidecar's, and some to spare. Kubernetes ends a native sidecar
/// after the containers, within the same time.
const POD_GRACE_SECONDS: u32 = 30;
const _: () = assert!(container::GRACE_SECONDS + sidecar::GRACE_SECONDS < POD_GRACE_SECONDS);
/// Seconds after which an update that does not get ready is reported as failed; the running pod stays in any case.
const PROGRESS_SECONDS: i32 = 300;
/// Seconds that a module without probes must run before it counts as ready: one that ends at once replaces nothing.
const UNPROBED_SECONDS: i32 = 10;

/// SHA-256 of the Dapr objects of the module. A running sidecar keeps the rights and time-outs it started with, so a change of them
/// must make a new pod.
const DAPR_CHECKSUM: &str = "fieldgate.io/dapr-sha256";

/// The Deployment of a module.
pub(super) fn deployment(
    appliance: &Appliance,
    module: &ResolvedModule,
    read_by_sidecar: &[Object],
    hub_ca: bool,
) -> Object {
    let mut annotations = sidecar::annotations(module);
    let read: String = read_by_sidecar
        .iter()
        .map(|object| object.value.to_string())
        .collect();
    annotations.insert(DAPR_CHECKSUM.to_owned(), sha256(read.as_bytes()));
    let volumes = Volumes::of(module, hub_ca);
    let mut labels = module_labels(&module.name);
    let deployment_meta = meta(&appliance.namespace, &module.name, labels.clone());
    labels.insert(SIDECAR_LABEL.to_owned(), "required".to_owned());
    let pod = PodSpec {
        service_account_name: Some(module.name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        priority_class_name: Some(priority(module).to_owned()),
        termination_grace_period_seconds: Some(i64::from(POD_GRACE_SECONDS)),
        security_context: Some(security::pod(
            module.storage.is_some(),
            (module.kind == Known::DeviceAgent).then_some(agent_protocol::GROUP),
        )),
        node_selector: node_selector(module),
        containers: vec![container::container(appliance, module, volumes.mounts)],
        volumes: (!volumes.volumes.is_empty()).then_some(volumes.volumes),
        ..PodSpec::default()
    };
    let deployment = Deployment {
        metadata: deployment_meta,
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(2),
            progress_deadline_seconds: Some(PROGRESS_SECONDS),
            min_ready_seconds: (!container::has_probes(module)).then_some(UNPROBED_SECONDS),
            selector: selector(module_selector(&module.name)),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                // The new pod must be ready before the old one ends. Where there is a volume, the lock on it lets one work at a time.
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    object(
        "The module; Dapr's injector adds its sidecar to each pod",
        &deployment,
    )
}

/// A volume says itself where it is.
fn node_selector(module: &ResolvedModule) -> Option<Labels> {
    let is_held = module.storage.is_some() || module.kind == Known::DeviceAgent;
    let node = module.node.as_ref().filter(|_| !is_held)?;
    Some(Labels::from([(HOST_LABEL.to_owned(), node.clone())]))
}

fn priority(module: &ResolvedModule) -> &'static str {
    match module.kind {
        Known::IothubModule | Known::DeviceAgent => SYSTEM_PRIORITY,
        Known::ModbusReader | Known::Custom => MODULE_PRIORITY,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{appliance, custom};
    use super::*;

    #[test]
    fn an_update_has_the_new_pod_ready_before_the_old_one_ends() {
        let appliance = appliance();
        let module = appliance.module("modbus-reader").unwrap();
        let value = deployment(&appliance, &module, &[], false).value;
        let rolling = &value["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(
            (&rolling["maxSurge"], &rolling["maxUnavailable"]),
            (&1.into(), &0.into())
        );
        assert!(value["spec"].get("minReadySeconds").is_none());
        let pod = &value["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], 30);
        assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    }

    #[test]
    fn a_module_without_probes_must_at_least_run_for_a_while() {
        let appliance = custom(r#"{"image": "x/f:1"}"#);
        let module = appliance.module("filter").unwrap();
        let value = deployment(&appliance, &module, &[], true).value;
        assert_eq!(value["spec"]["minReadySeconds"], 10);
        let pod = &value["spec"]["template"]["spec"];
        assert!(pod.get("volumes").is_none());
        assert!(pod["securityContext"].get("fsGroup").is_none());
    }
}
