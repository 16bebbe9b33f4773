//! What a program may do on the node: as little as Pod Security `restricted` knows.

use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, SeccompProfile, SecurityContext,
};

use super::metadata::USER;

/// For a pod. With volumes they get its group, which looks at every file only when the folder itself has another one. `group` is one more
/// that its programs are in.
pub(super) fn pod(with_volumes: bool, group: Option<u32>) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        // Also who owns the device nodes in the pod (nonroot-devices of k3s).
        run_as_group: Some(USER),
        supplemental_groups: group.map(|group| vec![i64::from(group)]),
        fs_group: with_volumes.then_some(USER),
        fs_group_change_policy: with_volumes.then(|| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    }
}

/// For a container.
pub(super) fn container() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}
