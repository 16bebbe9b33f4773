//! The two files of a module: its objects, and its configuration document.

use std::collections::BTreeMap;

use broker_setup::Plan;
use k8s_openapi::api::core::v1::ConfigMap;
use module_runtime::configuration::ByteSize;

use super::metadata::{configuration_name, meta, module_labels, module_selector, object};
use super::volumes::{HUB_CA, HUB_CA_FILE};
use super::{dapr, metrics, network, rbac, storage, workload};
use crate::description::{Known, ResolvedModule};
use crate::{Appliance, Documents, ManifestFile, Object, Ownership};

/// `<module>.yaml`.
pub(super) fn generated(
    appliance: &Appliance,
    documents: &Documents,
    plan: &Plan,
    module: &ResolvedModule,
) -> ManifestFile {
    let namespace = &appliance.namespace;
    let labels = module_labels(&module.name);
    let mut objects = rbac::objects(namespace, module);
    objects.extend(network::of_module(namespace, module));
    if let Some(size) = module.storage {
        let claim = storage::state_claim(&module.name);
        objects.extend(storage::volume(
            namespace,
            &claim,
            size,
            &labels,
            module.node.as_deref(),
            "the module's state",
        ));
    }
    if module.kind == Known::DeviceAgent {
        // What a pod of `restricted` may have of its host (docs/decisions/0015).
        objects.extend(storage::volume(
            namespace,
            &storage::host_claim(&module.name),
            ByteSize::from_mib(1),
            &labels,
            module.node.as_deref(),
            "the host's socket",
        ));
    }
    let hub_ca = documents
        .hub_ca
        .as_ref()
        .filter(|_| module.kind == Known::IothubModule);
    if let Some(certificates) = hub_ca {
        objects.push(text_map(
            appliance,
            module,
            HUB_CA,
            HUB_CA_FILE,
            certificates,
            "Certificates of the hub's private certification authority",
        ));
    }
    // Before the Deployment: a sidecar reads them once, when it starts.
    let read_by_sidecar = dapr::objects(namespace, plan, module);
    let deployment = workload::deployment(appliance, module, &read_by_sidecar, hub_ca.is_some());
    objects.extend(read_by_sidecar);
    objects.push(deployment);
    if let Some(port) = module.metrics_port {
        let pods = module_selector(&module.name);
        objects.push(metrics::service(
            namespace,
            &module.name,
            port,
            labels,
            pods,
        ));
    }
    ManifestFile {
        name: format!("{}.yaml", module.name),
        purpose: match module.kind {
            Known::ModbusReader => {
                "Reads field devices over Modbus and publishes what it read.".to_owned()
            }
            Known::IothubModule => {
                "Delivers events to Azure IoT Hub and brings commands back.".to_owned()
            }
            Known::DeviceAgent => {
                "Updates, health and factory reset of the device, from the cloud.".to_owned()
            }
            Known::Custom => format!("The module {}, one of your own.", module.name),
        },
        ownership: Ownership::Generated,
        objects,
    }
}

/// `<module>-configuration.yaml`, where the module has a document. Not `<module>.configuration.yaml`: k3s (1.34, pkg/deploy) calls what it
/// applies by the file's name up to the first dot, and takes away what is no longer in the file of that name.
pub(super) fn configuration(
    appliance: &Appliance,
    documents: &Documents,
    module: &ResolvedModule,
) -> Option<ManifestFile> {
    let document = documents.files.get(&module.name)?;
    let map = text_map(
        appliance,
        module,
        &configuration_name(module),
        &format!("{}.yaml", module.name),
        document,
        "The module takes a change within 10 to 30 s, or refuses it and keeps what it has",
    );
    Some(ManifestFile {
        name: format!("{}-configuration.yaml", module.name),
        purpose: format!("The configuration of {}. Yours to edit.", module.name),
        ownership: Ownership::Seed,
        objects: vec![map],
    })
}

fn text_map(
    appliance: &Appliance,
    module: &ResolvedModule,
    name: &str,
    key: &str,
    text: &str,
    comment: &str,
) -> Object {
    let map = ConfigMap {
        metadata: meta(&appliance.namespace, name, module_labels(&module.name)),
        data: Some(BTreeMap::from([(key.to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    object(comment, &map)
}
