//! What a module's pod mounts: its configuration, its state, the hub's certificates.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, DownwardAPIProjection, DownwardAPIVolumeFile,
    KeyToPath, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::metadata::configuration_name;
use super::sidecar::{API_TOKEN_VOLUME, reads_secrets};
use super::storage::{host_claim, state_claim};
use crate::description::{Known, ResolvedModule};

/// A whole folder, so that a changed ConfigMap arrives; a single mounted file would stay as it was.
pub(super) const CONFIGURATION_FOLDER: &str = "/etc/fieldgate/configuration";
pub(super) const STATE_FOLDER: &str = "/var/lib/fieldgate/state";
/// Where device-agent finds its host's socket.
const HOST_FOLDER: &str = "/run/fieldgate";
const HUB_FOLDER: &str = "/etc/fieldgate/hub";
/// The ConfigMap with the certificates of the hub's private certification authority.
pub(super) const HUB_CA: &str = "hub-ca";
/// Its key, and so the file in [`HUB_FOLDER`].
pub(super) const HUB_CA_FILE: &str = "ca.pem";
/// Seconds for which a token for the API server holds; the kubelet renews it in time.
const TOKEN_SECONDS: i64 = 3600;

/// A pod's volumes and where its program finds them.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
}

impl Volumes {
    /// Of a module; with the hub's certificates where the appliance has some.
    pub(super) fn of(module: &ResolvedModule, hub_ca: bool) -> Self {
        let mut all = Self::default();
        if module.has_configuration {
            let volume = config_map("configuration", &configuration_name(module));
            all.add(volume, CONFIGURATION_FOLDER, true);
        }
        if module.storage.is_some() {
            let volume = Volume {
                name: "state".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: state_claim(&module.name),
                    read_only: None,
                }),
                ..Volume::default()
            };
            all.add(volume, STATE_FOLDER, false);
        }
        if module.kind == Known::DeviceAgent {
            // Read-only: the folder is the host's, and connecting to a socket in it is no writing.
            let volume = Volume {
                name: "host".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: host_claim(&module.name),
                    read_only: Some(true),
                }),
                ..Volume::default()
            };
            all.add(volume, HOST_FOLDER, true);
        }
        if hub_ca && module.kind == Known::IothubModule {
            all.add(config_map("hub", HUB_CA), HUB_FOLDER, true);
        }
        if reads_secrets(module) {
            // Mounted into the sidecar only, by its annotation.
            all.volumes.push(api_token());
        }
        all
    }

    fn add(&mut self, volume: Volume, folder: &str, read_only: bool) {
        self.mounts.push(mount(&volume.name, folder, read_only));
        self.volumes.push(volume);
    }
}

/// A ConfigMap as a volume.
pub(super) fn config_map(name: &str, config_map: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A volume at a folder.
pub(super) fn mount(volume: &str, folder: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// What Kubernetes would mount into every container of a pod whose account has a token: token, certificate of the API server,
/// namespace.
fn api_token() -> Volume {
    let sources = vec![
        VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                path: "token".to_owned(),
                expiration_seconds: Some(TOKEN_SECONDS),
                audience: None,
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: "kube-root-ca.crt".to_owned(),
                items: Some(vec![KeyToPath {
                    key: "ca.crt".to_owned(),
                    path: "ca.crt".to_owned(),
                    mode: None,
                }]),
                optional: None,
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection {
                items: Some(vec![DownwardAPIVolumeFile {
                    path: "namespace".to_owned(),
                    field_ref: Some(ObjectFieldSelector {
                        api_version: Some("v1".to_owned()),
                        field_path: "metadata.namespace".to_owned(),
                    }),
                    ..DownwardAPIVolumeFile::default()
                }]),
            }),
            ..VolumeProjection::default()
        },
    ];
    Volume {
        name: API_TOKEN_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(sources),
            default_mode: None,
        }),
        ..Volume::default()
    }
}
