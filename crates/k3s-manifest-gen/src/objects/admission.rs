//! No module pod without its sidecar.
//!
//! The injector is a webhook: where it is configured to be ignored when it does not answer, or does not select a pod, the pod
//! starts bare. This policy is evaluated by the API server itself, after all webhooks have changed the pod, so nothing has to
//! run for it. A refused pod is no lost pod: its ReplicaSet makes it again until the injector has done its part.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation, Variable,
};

use super::metadata::{MODULES_LABEL, SIDECAR_LABEL, cluster_meta, labels, map, object, selector};
use crate::Object;

/// Of the policy and its binding.
const NAME: &str = "fieldgate-sidecar-required";
const MESSAGE: &str = "this pod must run with its Dapr sidecar, and the injector has added none. It is created again by itself \
and starts as soon as the injector answers. If it does not: `kubectl -n dapr-system get pods -l app=dapr-sidecar-injector` must \
show a running pod, the pod template needs the label fieldgate.io/sidecar=required and the annotation dapr.io/enabled=\"true\", \
and its namespace the label fieldgate.io/modules=true.";

/// A pod that wants a sidecar: by our label, or by Dapr's annotation in any of the spellings that the injector takes for
/// yes. Pods need not have labels or annotations at all.
fn wants_sidecar() -> String {
    format!(
        "(has(object.metadata.labels) && '{SIDECAR_LABEL}' in object.metadata.labels) || \
(has(object.metadata.annotations) && 'dapr.io/enabled' in object.metadata.annotations && \
object.metadata.annotations['dapr.io/enabled'].trim().lowerAscii() in ['true', 't', '1', 'y', 'yes', 'on'])"
    )
}

/// A sidecar as the injector adds it: native ones are init containers, which a pod need not have.
const HAS_SIDECAR: &str = "object.spec.containers.exists(c, c.name == 'daprd') || \
(has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == 'daprd'))";

/// The policy and its binding.
pub(super) fn objects() -> [Object; 2] {
    let policy = ValidatingAdmissionPolicy {
        metadata: cluster_meta(NAME, labels(NAME, "admission")),
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                match_policy: Some("Equivalent".to_owned()),
                namespace_selector: Some(selector(map([(MODULES_LABEL, "true")]))),
                resource_rules: Some(vec![NamedRuleWithOperations {
                    api_groups: Some(vec![String::new()]),
                    api_versions: Some(vec!["v1".to_owned()]),
                    operations: Some(vec!["CREATE".to_owned()]),
                    resources: Some(vec!["pods".to_owned()]),
                    scope: Some("Namespaced".to_owned()),
                    ..NamedRuleWithOperations::default()
                }]),
                ..MatchResources::default()
            }),
            variables: Some(vec![
                Variable {
                    name: "wantsSidecar".to_owned(),
                    expression: wants_sidecar(),
                },
                Variable {
                    name: "hasSidecar".to_owned(),
                    expression: HAS_SIDECAR.to_owned(),
                },
            ]),
            validations: Some(vec![Validation {
                expression: "!variables.wantsSidecar || variables.hasSidecar".to_owned(),
                message: Some(MESSAGE.to_owned()),
                reason: Some("Forbidden".to_owned()),
                ..Validation::default()
            }]),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        ..ValidatingAdmissionPolicy::default()
    };
    let binding = ValidatingAdmissionPolicyBinding {
        metadata: cluster_meta(NAME, labels(NAME, "admission")),
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: Some(NAME.to_owned()),
            validation_actions: Some(vec!["Deny".to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    };
    [
        object(
            "Refuses a module's pod that the injector has not given its sidecar",
            &policy,
        ),
        object("Puts the policy above into force", &binding),
    ]
}
