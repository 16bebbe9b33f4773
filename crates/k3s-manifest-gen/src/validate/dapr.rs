//! Dapr's own kinds, as the custom resource definitions of Dapr 1.18 have them. Unknown fields are refused: Dapr would leave them out
//! in silence.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares a kind or a part of one: every field optional unless it is marked `required`.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident { $($fields:tt)* }) => {
        part!(@fields $(#[$doc])* $name [] $($fields)*);
    };
    (@fields $(#[$doc:meta])* $name:ident [$($done:tt)*] required $field:ident: $type:ty, $($rest:tt)*) => {
        part!(@fields $(#[$doc])* $name [$($done)* $field: $type,] $($rest)*);
    };
    (@fields $(#[$doc:meta])* $name:ident [$($done:tt)*] $field:ident: $type:ty, $($rest:tt)*) => {
        part!(@fields $(#[$doc])* $name [
            $($done)*
            #[serde(skip_serializing_if = "Option::is_none")]
            $field: Option<$type>,
        ] $($rest)*);
    };
    (@fields $(#[$doc:meta])* $name:ident [$($done:tt)*]) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub(super) struct $name { $($done)* }
    };
}

part!(
    /// A building block of the sidecar: what it publishes with, where it keeps secrets.
    Component {
        required api_version: String,
        required kind: String,
        required metadata: ObjectMeta,
        required spec: ComponentSpec,
        auth: Auth,
        scopes: Vec<String>,
    }
);

part!(
    /// Which component, and its settings.
    ComponentSpec {
        required r#type: String,
        required version: String,
        required metadata: Vec<NamedValue>,
        ignore_errors: bool,
        init_timeout: String,
    }
);

part!(
    /// Where a component's secrets are.
    Auth {
        required secret_store: String,
    }
);

part!(
    /// A setting: a value, or where it is.
    NamedValue {
        required name: String,
        value: Value,
        env_ref: String,
        secret_key_ref: SecretKey,
    }
);

part!(
    /// A value in a secret.
    SecretKey {
        required name: String,
        key: String,
    }
);

part!(
    /// A subscription that the sidecar makes for the program.
    Subscription {
        required api_version: String,
        required kind: String,
        required metadata: ObjectMeta,
        required spec: SubscriptionSpec,
        scopes: Vec<String>,
    }
);

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SubscriptionSpec {
    /// In lower case, alone of all.
    #[serde(rename = "pubsubname")]
    pubsub_name: String,
    topic: String,
    routes: Routes,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_subscribe: Option<BulkSubscribe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<String, String>>,
}

part!(
    /// Paths of events.
    Routes {
        default: String,
        rules: Vec<Rule>,
    }
);

part!(
    /// The path of events that match.
    Rule {
        required r#match: String,
        required path: String,
    }
);

part!(
    /// Many events in one delivery.
    BulkSubscribe {
        required enabled: bool,
        max_await_duration_ms: i32,
        max_messages_count: i32,
    }
);

part!(
    /// Time-outs, retries and circuit breakers.
    Resiliency {
        required api_version: String,
        required kind: String,
        required metadata: ObjectMeta,
        required spec: ResiliencySpec,
        scopes: Vec<String>,
    }
);

part!(
    /// Policies, and what they are for.
    ResiliencySpec {
        required policies: Policies,
        required targets: Targets,
    }
);

part!(
    /// Named policies.
    Policies {
        timeouts: BTreeMap<String, String>,
        retries: BTreeMap<String, Retry>,
        circuit_breakers: BTreeMap<String, CircuitBreaker>,
    }
);

part!(
    /// How often and when again.
    Retry {
        policy: String,
        duration: String,
        max_interval: String,
        max_retries: i64,
        matching: RetryMatching,
    }
);

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryMatching {
    #[serde(rename = "gRPCStatusCodes", skip_serializing_if = "Option::is_none")]
    grpc_status_codes: Option<String>,
    #[serde(rename = "httpStatusCodes", skip_serializing_if = "Option::is_none")]
    http_status_codes: Option<String>,
}

part!(
    /// When to stop trying for a while.
    CircuitBreaker {
        interval: String,
        max_requests: i64,
        timeout: String,
        trip: String,
    }
);

part!(
    /// What the policies are for.
    Targets {
        actors: BTreeMap<String, Actor>,
        apps: BTreeMap<String, App>,
        components: BTreeMap<String, ComponentTarget>,
    }
);

part!(
    /// Policies of an actor type.
    Actor {
        circuit_breaker: String,
        circuit_breaker_cache_size: i64,
        circuit_breaker_scope: String,
        retry: String,
        timeout: String,
    }
);

part!(
    /// Policies of calls to an app.
    App {
        circuit_breaker: String,
        circuit_breaker_cache_size: i64,
        retry: String,
        timeout: String,
    }
);

part!(
    /// Policies of a component.
    ComponentTarget {
        inbound: Direction,
        outbound: Direction,
    }
);

part!(
    /// Policies of one direction.
    Direction {
        circuit_breaker: String,
        retry: String,
        timeout: String,
    }
);

part!(
    /// How a sidecar runs.
    Configuration {
        required api_version: String,
        required kind: String,
        required metadata: ObjectMeta,
        required spec: ConfigurationSpec,
    }
);

part!(
    /// Its parts.
    ConfigurationSpec {
        access_control: AccessControl,
        api: Api,
        app_http_pipeline: Pipeline,
        components: DeniedComponents,
        features: Vec<Feature>,
        http_pipeline: Pipeline,
        logging: Logging,
        metric: Metrics,
        metrics: Metrics,
        mtls: Mtls,
        name_resolution: NameResolution,
        secrets: Secrets,
        tracing: Tracing,
        wasm: Wasm,
        workflow: Value,
    }
);

part!(
    /// Who may call what of this app.
    AccessControl {
        default_action: String,
        trust_domain: String,
        policies: Vec<AppPolicy>,
    }
);

part!(
    /// What one app may call.
    AppPolicy {
        app_id: String,
        default_action: String,
        namespace: String,
        trust_domain: String,
        operations: Vec<Operation>,
    }
);

part!(
    /// One method.
    Operation {
        required name: String,
        required action: String,
        http_verb: Vec<String>,
    }
);

part!(
    /// Which of its APIs the sidecar serves.
    Api {
        allowed: Vec<ApiRule>,
        denied: Vec<ApiRule>,
    }
);

part!(
    /// One API.
    ApiRule {
        required name: String,
        required version: String,
        protocol: String,
    }
);

part!(
    /// Middleware.
    Pipeline {
        required handlers: Vec<Handler>,
    }
);

part!(
    /// One middleware.
    Handler {
        required name: String,
        required r#type: String,
        selector: Selector,
    }
);

part!(
    /// For which requests.
    Selector {
        required fields: Vec<SelectorField>,
    }
);

part!(
    /// One condition.
    SelectorField {
        required field: String,
        required value: String,
    }
);

part!(
    /// Component types that are refused.
    DeniedComponents {
        deny: Vec<String>,
    }
);

part!(
    /// A preview feature.
    Feature {
        required name: String,
        required enabled: bool,
    }
);

part!(
    /// The sidecar's log.
    Logging {
        api_logging: ApiLogging,
    }
);

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ApiLogging {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(rename = "obfuscateURLs", skip_serializing_if = "Option::is_none")]
    obfuscate_urls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omit_health_checks: Option<bool>,
}

part!(
    /// The sidecar's metrics.
    Metrics {
        required enabled: bool,
        http: HttpMetrics,
        latency_distribution_buckets: Vec<i64>,
        record_error_codes: bool,
        rules: Vec<MetricsRule>,
    }
);

part!(
    /// Of HTTP requests.
    HttpMetrics {
        exclude_verbs: bool,
        increased_cardinality: bool,
        path_matching: Vec<String>,
    }
);

part!(
    /// Labels of a metric.
    MetricsRule {
        required name: String,
        required labels: Vec<MetricsLabel>,
    }
);

part!(
    /// Values of a label.
    MetricsLabel {
        required name: String,
        required regex: BTreeMap<String, String>,
    }
);

/// Certificates of the sidecars.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Mtls {
    enabled: bool,
    control_plane_trust_domain: String,
    sentry_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_clock_skew: Option<String>,
    #[serde(rename = "workloadCertTTL", skip_serializing_if = "Option::is_none")]
    workload_cert_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_validators: Option<Vec<TokenValidator>>,
}

part!(
    /// Who else may ask for certificates.
    TokenValidator {
        required name: String,
        options: Value,
    }
);

part!(
    /// How apps are found.
    NameResolution {
        required component: String,
        required version: String,
        required configuration: Value,
    }
);

part!(
    /// Which secrets the program may read.
    Secrets {
        required scopes: Vec<SecretScope>,
    }
);

part!(
    /// Of one store.
    SecretScope {
        required store_name: String,
        default_access: String,
        allowed_secrets: Vec<String>,
        denied_secrets: Vec<String>,
    }
);

part!(
    /// Traces.
    Tracing {
        required sampling_rate: String,
        stdout: bool,
        otel: Otel,
        zipkin: Zipkin,
    }
);

part!(
    /// Traces to an OpenTelemetry collector.
    Otel {
        required endpoint_address: String,
        required is_secure: bool,
        required protocol: String,
        headers: Vec<NamedValue>,
        timeout: String,
    }
);

part!(
    /// Traces to Zipkin.
    Zipkin {
        required endpoint_address: String,
    }
);

part!(
    /// WebAssembly.
    Wasm {
        strict_sandbox: bool,
    }
);
