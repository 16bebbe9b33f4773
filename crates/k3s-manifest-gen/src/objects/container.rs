//! The container of a module: environment, probes, ports and bounds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Probe, ResourceRequirements,
    SecretKeySelector, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use module_runtime::configuration::ByteSize;

use super::metadata::{amount, bytes};
use super::security;
use super::volumes::{CONFIGURATION_FOLDER, STATE_FOLDER};
use crate::Appliance;
use crate::description::{Cpu, Probes, ResolvedModule};

/// Seconds a module may take to end after SIGTERM; less than the pod has.
pub(super) const GRACE_SECONDS: u32 = 20;
/// The most processor time that is set aside for a module.
const CPU_REQUEST: Cpu = Cpu::from_millis(50);

/// The container of a module.
pub(super) fn container(
    appliance: &Appliance,
    module: &ResolvedModule,
    mounts: Vec<VolumeMount>,
) -> Container {
    let probes = module.probes.as_ref();
    Container {
        name: module.name.clone(),
        image: Some(module.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: Some(environment(appliance, module)),
        ports: ports(module),
        resources: Some(resources(module)),
        security_context: Some(security::container()),
        // Two minutes to start; the others begin when this one has succeeded.
        startup_probe: probes.map(|probes| probe(probes.port, &probes.live, 2, 60)),
        // One minute without an answer, so that a slow disk is no reason.
        liveness_probe: probes.map(|probes| probe(probes.port, &probes.live, 10, 6)),
        readiness_probe: probes.map(|probes| probe(probes.port, &probes.ready, 3, 2)),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    }
}

/// An HTTP probe.
pub(super) fn probe(port: u16, path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5.min(period)),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// A container's port.
pub(super) fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        ..ContainerPort::default()
    }
}

/// A plain environment variable.
pub(super) fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        value_from: None,
    }
}

/// An environment variable from a Secret.
pub(super) fn secret_variable(name: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// Ours, then the module's own by name; where both have one, the module's.
fn environment(appliance: &Appliance, module: &ResolvedModule) -> Vec<EnvVar> {
    let mut ours = vec![
        variable("FIELDGATE_APPLIANCE", &appliance.appliance),
        variable("FIELDGATE_MODULE", &module.name),
        variable("FIELDGATE_GRACE_PERIOD", format!("{GRACE_SECONDS}s")),
    ];
    if let Some(port) = module.app_port {
        ours.push(variable("FIELDGATE_APP_PORT", port.to_string()));
    }
    if !module.publishes.is_empty() {
        ours.push(variable(
            "FIELDGATE_PUBSUB",
            super::dapr::publisher(&module.name),
        ));
    }
    if module.has_configuration {
        let file = format!("{CONFIGURATION_FOLDER}/{}.yaml", module.name);
        ours.push(variable("FIELDGATE_CONFIG", file));
    }
    if module.storage.is_some() {
        let file = format!("{STATE_FOLDER}/{}.lock", module.name);
        ours.push(variable("FIELDGATE_LOCK", file));
    }
    ours.retain(|variable| !module.env.contains_key(&variable.name));
    ours.extend(module.env.iter().map(|(name, value)| variable(name, value)));
    ours
}

/// The port of the metrics, where it has one. Others need no entry: nothing but the sidecar and the kubelet asks there.
fn ports(module: &ResolvedModule) -> Option<Vec<ContainerPort>> {
    Some(vec![port("metrics", module.metrics_port?)])
}

fn resources(module: &ResolvedModule) -> ResourceRequirements {
    let mut limits = BTreeMap::from([
        ("cpu".to_owned(), amount(module.cpu.to_string())),
        ("memory".to_owned(), bytes(module.memory)),
    ]);
    let half = ByteSize::from_mib((module.memory.get() >> 20).div_ceil(2).max(1));
    let mut requests: BTreeMap<String, Quantity> = BTreeMap::from([
        (
            "cpu".to_owned(),
            amount(module.cpu.min(CPU_REQUEST).to_string()),
        ),
        ("memory".to_owned(), bytes(half)),
    ]);
    for serial in &module.serial {
        // Resources of a device plugin are whole ones, and asked for as much as they are limited.
        let name = format!("fieldgate.io/serial-{}", serial.name);
        limits.insert(name.clone(), amount("1"));
        requests.insert(name, amount("1"));
    }
    ResourceRequirements {
        limits: Some(limits),
        requests: Some(requests),
        claims: None,
    }
}

/// Whether Kubernetes can tell when the module is ready.
pub(super) fn has_probes(module: &ResolvedModule) -> bool {
    let probes: Option<&Probes> = module.probes.as_ref();
    probes.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::metadata::value;
    use super::super::testing::{appliance, custom, variables};
    use super::*;

    #[test]
    fn a_module_knows_who_it_is_and_where_its_files_are() {
        let appliance = appliance();
        let module = appliance.module("modbus-reader").unwrap();
        let found = variables(&value(&container(&appliance, &module, Vec::new())));
        for (name, expected) in [
            ("FIELDGATE_APPLIANCE", "gate-7"),
            ("FIELDGATE_MODULE", "modbus-reader"),
            ("FIELDGATE_PUBSUB", "modbus-reader-pubsub"),
            ("FIELDGATE_APP_PORT", "6000"),
            (
                "FIELDGATE_CONFIG",
                "/etc/fieldgate/configuration/modbus-reader.yaml",
            ),
            (
                "FIELDGATE_LOCK",
                "/var/lib/fieldgate/state/modbus-reader.lock",
            ),
            ("FIELDGATE_GRACE_PERIOD", "20s"),
        ] {
            assert_eq!(
                found.get(name).map(String::as_str),
                Some(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn a_bare_module_gets_what_it_can_use_only() {
        let appliance = custom(
            r#"{"image": "x/f:1", "env": {"B": "2", "A": "1", "FIELDGATE_GRACE_PERIOD": "9s"}}"#,
        );
        let module = appliance.module("filter").unwrap();
        let container = value(&container(&appliance, &module, Vec::new()));
        let found = variables(&container);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "A",
                "B",
                "FIELDGATE_APPLIANCE",
                "FIELDGATE_GRACE_PERIOD",
                "FIELDGATE_MODULE"
            ]
        );
        assert_eq!(
            found["FIELDGATE_GRACE_PERIOD"], "9s",
            "what the description says holds"
        );
        for absent in [
            "startupProbe",
            "livenessProbe",
            "readinessProbe",
            "ports",
            "volumeMounts",
        ] {
            assert!(container.get(absent).is_none(), "{absent}");
        }
        assert_eq!(
            container["resources"]["limits"],
            json!({"cpu": "1", "memory": "128Mi"})
        );
        assert_eq!(
            container["resources"]["requests"],
            json!({"cpu": "50m", "memory": "64Mi"})
        );
    }

    #[test]
    fn a_serial_port_is_a_resource() {
        let appliance = appliance();
        let module = appliance.module("modbus-reader").unwrap();
        let resources = value(&resources(&module));
        for bound in ["limits", "requests"] {
            assert_eq!(resources[bound]["fieldgate.io/serial-line-1"], "1");
        }
    }
}
