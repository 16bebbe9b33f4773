//! Which kinds the files may hold, and the type of each.

use k8s_openapi::api::admissionregistration::v1 as admission;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::api::scheduling::v1 as scheduling;
use k8s_openapi::api::storage::v1 as storage;
use serde_json::Value;

use super::{Fault, check, dapr};

/// The check of a kind; none for one that does not belong here.
pub(super) fn check_of(version: &str, kind: &str) -> Option<fn(&Value) -> Vec<Fault>> {
    Some(match (version, kind) {
        ("v1", "ConfigMap") => check::<core::ConfigMap>,
        ("v1", "LimitRange") => check::<core::LimitRange>,
        ("v1", "Namespace") => check::<core::Namespace>,
        ("v1", "PersistentVolume") => check::<core::PersistentVolume>,
        ("v1", "PersistentVolumeClaim") => check::<core::PersistentVolumeClaim>,
        ("v1", "Pod") => check::<core::Pod>,
        ("v1", "ResourceQuota") => check::<core::ResourceQuota>,
        ("v1", "Service") => check::<core::Service>,
        ("v1", "ServiceAccount") => check::<core::ServiceAccount>,
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            check::<admission::ValidatingAdmissionPolicy>
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            check::<admission::ValidatingAdmissionPolicyBinding>
        }
        ("apps/v1", "DaemonSet") => check::<apps::DaemonSet>,
        ("apps/v1", "Deployment") => check::<apps::Deployment>,
        ("apps/v1", "StatefulSet") => check::<apps::StatefulSet>,
        ("batch/v1", "CronJob") => check::<batch::CronJob>,
        ("batch/v1", "Job") => check::<batch::Job>,
        ("networking.k8s.io/v1", "NetworkPolicy") => check::<networking::NetworkPolicy>,
        ("policy/v1", "PodDisruptionBudget") => check::<policy::PodDisruptionBudget>,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => check::<rbac::ClusterRole>,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => check::<rbac::ClusterRoleBinding>,
        ("rbac.authorization.k8s.io/v1", "Role") => check::<rbac::Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => check::<rbac::RoleBinding>,
        ("scheduling.k8s.io/v1", "PriorityClass") => check::<scheduling::PriorityClass>,
        ("storage.k8s.io/v1", "StorageClass") => check::<storage::StorageClass>,
        ("dapr.io/v1alpha1", "Component") => check::<dapr::Component>,
        ("dapr.io/v1alpha1", "Configuration") => check::<dapr::Configuration>,
        ("dapr.io/v1alpha1", "Resiliency") => check::<dapr::Resiliency>,
        ("dapr.io/v2alpha1", "Subscription") => check::<dapr::Subscription>,
        _ => return None,
    })
}
