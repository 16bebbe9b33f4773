//! Dapr's kinds as far as they are used here (charts/dapr/crds of dapr 1.18).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

/// What every object begins with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource<S> {
    api_version: &'static str,
    kind: &'static str,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: S,
    /// The applications that load it; without any, all of the namespace do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
}

/// A kind of Dapr's.
pub(super) trait Kind: Serialize + Sized {
    const KIND: &'static str;
    const API_VERSION: &'static str = "dapr.io/v1alpha1";

    /// The whole object.
    fn resource(self, metadata: ObjectMeta, scopes: Vec<String>) -> Resource<Self> {
        Resource {
            api_version: Self::API_VERSION,
            kind: Self::KIND,
            metadata,
            spec: self,
            scopes,
        }
    }
}

/// What a sidecar connects to.
#[derive(Debug, Serialize)]
pub(super) struct Component {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) version: &'static str,
    pub(super) metadata: Vec<Setting>,
}

impl Kind for Component {
    const KIND: &'static str = "Component";
}

/// One setting of a component: a value, or where it is kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Setting {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_key_ref: Option<SecretKey>,
}

/// A key of a Secret.
#[derive(Debug, Serialize)]
pub(super) struct SecretKey {
    pub(super) name: String,
    pub(super) key: &'static str,
}

/// A subscription whose events the sidecar posts to the module.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) pubsubname: String,
    pub(super) topic: String,
    pub(super) routes: Routes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_topic: Option<String>,
}

impl Kind for Subscription {
    const KIND: &'static str = "Subscription";
    const API_VERSION: &'static str = "dapr.io/v2alpha1";
}

#[derive(Debug, Serialize)]
pub(super) struct Routes {
    pub(super) default: String,
}

/// How a sidecar behaves, and what it lets others do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Configuration {
    pub(super) access_control: AccessControl,
    pub(super) api: Api,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secrets: Option<Secrets>,
    pub(super) tracing: Tracing,
    pub(super) metrics: Metrics,
    pub(super) logging: Logging,
}

impl Kind for Configuration {
    const KIND: &'static str = "Configuration";
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccessControl {
    pub(super) default_action: &'static str,
    pub(super) trust_domain: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) policies: Vec<AppPolicy>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppPolicy {
    pub(super) app_id: String,
    pub(super) default_action: &'static str,
    pub(super) trust_domain: &'static str,
    pub(super) namespace: String,
    pub(super) operations: Vec<AppOperation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppOperation {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) http_verb: Vec<&'static str>,
    pub(super) action: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Api {
    pub(super) allowed: Vec<ApiRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ApiRule {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) protocol: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Secrets {
    pub(super) scopes: Vec<SecretsScope>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretsScope {
    pub(super) store_name: &'static str,
    pub(super) default_access: &'static str,
    pub(super) allowed_secrets: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tracing {
    pub(super) sampling_rate: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Metrics {
    pub(super) enabled: bool,
    pub(super) http: HttpMetrics,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpMetrics {
    pub(super) increased_cardinality: bool,
    pub(super) exclude_verbs: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logging {
    pub(super) api_logging: ApiLogging,
}

#[derive(Debug, Serialize)]
pub(super) struct ApiLogging {
    pub(super) enabled: bool,
}

/// Time-outs, retries and circuit breakers.
#[derive(Debug, Serialize)]
pub(super) struct Resiliency {
    pub(super) policies: Policies,
    pub(super) targets: Targets,
}

impl Kind for Resiliency {
    const KIND: &'static str = "Resiliency";
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policies {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) timeouts: BTreeMap<&'static str, &'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) retries: BTreeMap<&'static str, Retry>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) circuit_breakers: BTreeMap<&'static str, CircuitBreaker>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retry {
    pub(super) policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_interval: Option<&'static str>,
    pub(super) max_retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) matching: Option<RetryMatching>,
}

#[derive(Debug, Serialize)]
pub(super) struct RetryMatching {
    #[serde(rename = "httpStatusCodes")]
    pub(super) http: &'static str,
    #[serde(rename = "gRPCStatusCodes")]
    pub(super) grpc: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CircuitBreaker {
    pub(super) max_requests: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<&'static str>,
    pub(super) timeout: &'static str,
    pub(super) trip: &'static str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Targets {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) apps: BTreeMap<String, PolicyNames>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) components: BTreeMap<String, ComponentPolicies>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ComponentPolicies {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inbound: Option<PolicyNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outbound: Option<PolicyNames>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyNames {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) circuit_breaker: Option<&'static str>,
}
