//! The Configuration of a module's sidecar: who may call the module, which of Dapr's APIs the module may use, what is recorded.
//!
//! Whether sidecars prove who they are (mTLS) is not said here: it is on for the whole cluster in Dapr's own Configuration
//! `daprsystem`, and a sidecar takes it from the injector.

use super::super::metadata::object;
use super::super::rbac::HUB_SECRET;
use super::super::sidecar::reads_secrets;
use super::components::SECRET_STORE;
use super::kinds::{
    AccessControl, Api, ApiLogging, ApiRule, AppOperation, AppPolicy, Configuration, HttpMetrics,
    Kind, Logging, Metrics, Secrets, SecretsScope, Tracing,
};
use super::metadata;
use crate::Object;
use crate::description::{AppProtocol, CallRight, Known, ResolvedModule};

/// The first part of every identity: `spiffe://fieldgate/ns/<namespace>/<app>`. A sidecar's own Configuration names it for sentry.
const TRUST_DOMAIN: &str = "fieldgate";
const DENY: &str = "deny";
const ALLOW: &str = "allow";

/// The Configuration of a module; it has the module's name.
pub(super) fn object_of(namespace: &str, module: &ResolvedModule) -> Object {
    let configuration = Configuration {
        access_control: AccessControl {
            default_action: DENY,
            trust_domain: TRUST_DOMAIN,
            policies: policies(namespace, module),
        },
        api: Api {
            allowed: allowed(module),
        },
        secrets: reads_secrets(module).then(secrets),
        tracing: Tracing { sampling_rate: "0" },
        metrics: Metrics {
            enabled: true,
            // One series for each path and method called would be without bound.
            http: HttpMetrics {
                increased_cardinality: false,
                exclude_verbs: true,
            },
        },
        logging: Logging {
            api_logging: ApiLogging { enabled: false },
        },
    };
    let meta = metadata(namespace, module, &module.name);
    object(
        "Who may call what of the module, and which APIs of its sidecar the module may use",
        &configuration.resource(meta, Vec::new()),
    )
}

/// One policy for each caller. The verb has to be named: an operation without one allows nothing over HTTP.
fn policies(namespace: &str, module: &ResolvedModule) -> Vec<AppPolicy> {
    let mut policies: Vec<AppPolicy> = Vec::new();
    for CallRight { app, method } in &module.callers {
        let operation = AppOperation {
            name: format!("/{}", method.trim_start_matches('/')),
            http_verb: match module.app_protocol {
                AppProtocol::Http => vec!["POST"],
                AppProtocol::Grpc => Vec::new(),
            },
            action: ALLOW,
        };
        match policies.iter_mut().find(|policy| policy.app_id == *app) {
            Some(policy) => policy.operations.push(operation),
            None => policies.push(AppPolicy {
                app_id: app.clone(),
                default_action: DENY,
                trust_domain: TRUST_DOMAIN,
                namespace: namespace.to_owned(),
                operations: vec![operation],
            }),
        }
    }
    policies
}

/// What the module may ask its sidecar for. Names and versions are those of dapr 1.18 (pkg/api/grpc/endpoints.go,
/// pkg/api/http/endpoints). An empty list would allow everything, and so would one without a rule for a protocol: hence always one
/// of each. Asking for health is allowed in any case, so over HTTP that is the rule that allows nothing more; over gRPC it is metadata.
fn allowed(module: &ResolvedModule) -> Vec<ApiRule> {
    let mut rules = vec![rule("healthz", "v1", "http")];
    let own = module.kind != Known::Custom;
    if !module.publishes.is_empty() {
        rules.push(rule("publish", "v1", "grpc"));
        if !own {
            rules.push(rule("publish", "v1", "http"));
            // Bulk publishing under the name that most SDKs still use.
            rules.push(rule("publish", "v1alpha1", "grpc"));
            rules.push(rule("publish", "v1alpha1", "http"));
        }
    }
    if module.subscribes.iter().any(|one| one.route.is_none()) {
        rules.push(rule("subscribe", "v1alpha1", "grpc"));
    }
    if !module.calls.is_empty() {
        rules.push(rule("invoke", "v1", "http"));
        if !own {
            rules.push(rule("invoke", "v1", "grpc"));
        }
    }
    if reads_secrets(module) {
        rules.push(rule("secrets", "v1", "grpc"));
    }
    if !own {
        rules.push(rule("metadata", "v1", "http"));
    }
    if !own || rules.iter().all(|rule| rule.protocol != "grpc") {
        rules.push(rule("metadata", "v1", "grpc"));
    }
    rules.sort_by_key(|rule| (rule.protocol, rule.name, rule.version));
    rules
}

fn rule(name: &'static str, version: &'static str, protocol: &'static str) -> ApiRule {
    ApiRule {
        name,
        version,
        protocol,
    }
}

/// The Role says the same to Kubernetes; here the sidecar refuses before it asks.
fn secrets() -> Secrets {
    Secrets {
        scopes: [SECRET_STORE, "kubernetes"]
            .map(|store_name| SecretsScope {
                store_name,
                default_access: DENY,
                allowed_secrets: vec![HUB_SECRET],
            })
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::testing::{appliance, custom};
    use super::*;

    fn of(appliance: &crate::Appliance, module: &str) -> Value {
        object_of("fieldgate", &appliance.module(module).unwrap()).value
    }

    #[test]
    fn only_who_is_described_may_call_and_only_what_is_described() {
        let appliance = appliance();
        let control = &of(&appliance, "modbus-reader")["spec"]["accessControl"];
        assert_eq!(
            (&control["defaultAction"], &control["trustDomain"]),
            (&json!("deny"), &json!("fieldgate"))
        );
        let operation =
            |method: &str| json!({"name": method, "httpVerb": ["POST"], "action": "allow"});
        let policy = |app: &str, operations: Value| {
            json!({"appId": app, "defaultAction": "deny", "trustDomain": "fieldgate", "namespace": "fieldgate",
                "operations": operations})
        };
        assert_eq!(
            control["policies"],
            json!([
                policy(
                    "iothub-module",
                    json!([operation("/read"), operation("/write")])
                ),
                policy("my-filter", json!([operation("/read")])),
            ])
        );
        let nobody = &of(&appliance, "iothub-module")["spec"]["accessControl"];
        assert_eq!(
            nobody,
            &json!({"defaultAction": "deny", "trustDomain": "fieldgate"})
        );
    }

    #[test]
    fn a_module_may_use_the_apis_it_needs() {
        let names = |appliance: &crate::Appliance, module: &str| -> Vec<String> {
            let value = of(appliance, module);
            let rules = value["spec"]["api"]["allowed"].as_array().unwrap();
            let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
            rules
                .iter()
                .map(|rule| {
                    format!(
                        "{} {}.{}",
                        text(rule, "protocol"),
                        text(rule, "name"),
                        text(rule, "version")
                    )
                })
                .collect()
        };
        let appliance = appliance();
        assert_eq!(
            names(&appliance, "modbus-reader"),
            ["grpc publish.v1", "http healthz.v1"]
        );
        assert_eq!(
            names(&appliance, "iothub-module"),
            [
                "grpc publish.v1",
                "grpc secrets.v1",
                "grpc subscribe.v1alpha1",
                "http healthz.v1",
                "http invoke.v1"
            ]
        );
        // Without a rule for a protocol Dapr allows all of it.
        for bare in [
            r#"{"image": "x/f:1"}"#,
            r#"{"image": "x/f:1", "publishes": ["alarms"]}"#,
        ] {
            let rules = names(&custom(bare), "filter");
            for protocol in ["http", "grpc"] {
                assert!(
                    rules.iter().any(|rule| rule.starts_with(protocol)),
                    "{rules:?}"
                );
            }
            assert!(
                !rules
                    .iter()
                    .any(|rule| rule.contains("secrets") || rule.contains("invoke"))
            );
        }
    }
}
