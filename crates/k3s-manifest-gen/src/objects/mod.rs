//! Which objects are in each file. Pure: no clock, no random number, no file; the same description gives the same objects in the
//! same order.

mod admission;
mod broker;
mod broker_configuration;
mod container;
mod dapr;
mod metadata;
mod metrics;
mod module_files;
mod namespace;
mod network;
mod rbac;
mod security;
mod sidecar;
mod storage;
mod volumes;
mod workload;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::{Appliance, Documents, ManifestFile};

/// Every file of an appliance, in the order in which they are written. The same input gives the same output.
pub fn manifest_files(appliance: &Appliance, documents: &Documents) -> Vec<ManifestFile> {
    let modules = appliance.resolved_modules();
    let plan = broker_configuration::plan(appliance, &modules);
    let mut files = vec![
        namespace::file(appliance),
        broker::file(appliance, &plan, &modules),
    ];
    for module in &modules {
        files.push(module_files::generated(appliance, documents, &plan, module));
        files.extend(module_files::configuration(appliance, documents, module));
    }
    files
}
