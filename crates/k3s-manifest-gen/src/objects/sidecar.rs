//! The annotations by which Dapr's injector adds and sets up a pod's sidecar (dapr 1.18, pkg/injector).

use std::collections::BTreeMap;

use super::metadata::go_bytes;
use crate::description::{Known, ResolvedModule};

/// The sidecar's own bound of its heap; the rest of [`MEMORY_LIMIT`] is for what a burst holds before the collector runs.
const MEMORY_GOAL: u64 = 64 << 20;
const MEMORY_REQUEST: &str = "48Mi";
const MEMORY_LIMIT: &str = "192Mi";
const CPU_REQUEST: &str = "25m";
const CPU_LIMIT: &str = "2";
/// Seconds for open calls and for the answers to the broker, once the module has ended.
pub(super) const GRACE_SECONDS: u32 = 5;
/// The module's runtime sends parts of up to 3 MiB, the broker takes up to 4 MiB.
const MAX_BODY: &str = "4Mi";
/// The volume with the token for the API server, see [`super::volumes`].
pub(super) const API_TOKEN_VOLUME: &str = "api-token";
/// Where programs look for such a token.
const API_TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The annotations of a module's pods.
///
/// The sidecar is a native one: an init container that stays. Kubernetes starts it before the module and ends it after the
/// module has ended, so what the module flushes on SIGTERM still goes through. Hence no `block-shutdown-duration`: it would make
/// the sidecar wait in vain for that time after its module has gone.
pub(super) fn annotations(module: &ResolvedModule) -> BTreeMap<String, String> {
    let mut annotations = Annotations(BTreeMap::new());
    annotations.set("enabled", "true");
    annotations.set("enable-native-sidecar", "true");
    annotations.set("app-id", &module.name);
    annotations.set("config", &module.name);
    if let Some(port) = module.app_port {
        annotations.set("app-port", port.to_string());
        annotations.set("app-protocol", module.app_protocol.as_str());
    }
    health_check(&mut annotations, module);
    annotations.set("sidecar-seccomp-profile-type", "RuntimeDefault");
    // By default also [::1], which a kernel without IPv6 refuses.
    annotations.set("sidecar-listen-addresses", "127.0.0.1");
    annotations.set("sidecar-cpu-request", CPU_REQUEST);
    annotations.set("sidecar-cpu-limit", CPU_LIMIT);
    annotations.set("sidecar-memory-request", MEMORY_REQUEST);
    annotations.set("sidecar-memory-limit", MEMORY_LIMIT);
    annotations.set("env", format!("GOMEMLIMIT={}", go_bytes(MEMORY_GOAL)));
    annotations.set("sidecar-readiness-probe-period-seconds", "3");
    annotations.set("sidecar-readiness-probe-timeout-seconds", "3");
    annotations.set("sidecar-readiness-probe-threshold", "3");
    annotations.set("graceful-shutdown-seconds", GRACE_SECONDS.to_string());
    annotations.set("max-body-size", MAX_BODY);
    annotations.set("log-as-json", "true");
    annotations.set("enable-api-logging", "false");
    annotations.set("enable-metrics", "true");
    if reads_secrets(module) {
        // The token is the sidecar's alone: the module's own container has none.
        annotations.set(
            "volume-mounts",
            format!("{API_TOKEN_VOLUME}:{API_TOKEN_PATH}"),
        );
    } else {
        annotations.set("disable-builtin-k8s-secret-store", "true");
    }
    annotations.0
}

/// Whether the module's sidecar reads secrets from Kubernetes.
pub(super) fn reads_secrets(module: &ResolvedModule) -> bool {
    module.kind == Known::IothubModule
}

/// A module whose events are posted to it gets none while it is not ready: they wait in the broker. Without this check they
/// would be tried in vain, and go to the dead letters in the end. The sidecar asks on the port of the events only.
fn health_check(annotations: &mut Annotations, module: &ResolvedModule) {
    let routed = module.subscribes.iter().any(|one| one.route.is_some());
    let probes = module
        .probes
        .as_ref()
        .filter(|probes| Some(probes.port) == module.app_port);
    if let (true, Some(probes)) = (routed, probes) {
        annotations.set("enable-app-health-check", "true");
        annotations.set("app-health-check-path", &probes.ready);
        annotations.set("app-health-probe-interval", "5");
        annotations.set("app-health-probe-timeout", "2000");
        annotations.set("app-health-threshold", "3");
    }
}

struct Annotations(BTreeMap<String, String>);

impl Annotations {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(format!("dapr.io/{name}"), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{appliance, custom};
    use super::*;

    fn of(appliance: &crate::Appliance, module: &str) -> BTreeMap<String, String> {
        annotations(&appliance.module(module).unwrap())
    }

    #[test]
    fn a_sidecar_is_native_bounded_and_confined() {
        let found = of(&appliance(), "modbus-reader");
        for (key, value) in [
            ("enabled", "true"),
            ("enable-native-sidecar", "true"),
            ("app-id", "modbus-reader"),
            ("config", "modbus-reader"),
            ("app-port", "6000"),
            ("sidecar-seccomp-profile-type", "RuntimeDefault"),
            ("disable-builtin-k8s-secret-store", "true"),
            ("env", "GOMEMLIMIT=64MiB"),
        ] {
            assert_eq!(found[&format!("dapr.io/{key}")], value, "{key}");
        }
        let limit: u64 = MEMORY_LIMIT.trim_end_matches("Mi").parse().unwrap();
        assert!(
            MEMORY_GOAL >> 20 < limit,
            "the collector must act before the kernel does"
        );
    }

    #[test]
    fn only_the_sidecar_that_reads_secrets_may_ask_the_api_server() {
        let hub = of(&appliance(), "iothub-module");
        assert!(hub["dapr.io/volume-mounts"].starts_with("api-token:"));
        assert!(!hub.contains_key("dapr.io/disable-builtin-k8s-secret-store"));
        let reader = of(&appliance(), "modbus-reader");
        assert!(!reader.contains_key("dapr.io/volume-mounts"));
    }

    #[test]
    fn events_are_posted_only_to_a_module_that_is_ready() {
        let description = r#"{"image": "x/f:1", "app_port": 8080, "subscribes": [{"topic": "telemetry", "route": "/events"}],
            "probes": {"port": 8080, "ready": "/ready"}}"#;
        let found = of(&custom(description), "filter");
        assert_eq!(found["dapr.io/app-health-check-path"], "/ready");
        let other_port =
            description.replace(r#""port": 8080, "ready""#, r#""port": 8081, "ready""#);
        assert!(
            !of(&custom(&other_port), "filter").contains_key("dapr.io/enable-app-health-check")
        );
        // Ours take theirs as a stream, and stop taking it themselves.
        assert!(!of(&appliance(), "iothub-module").contains_key("dapr.io/enable-app-health-check"));
    }

    #[test]
    fn a_module_that_nobody_calls_needs_no_port() {
        let found = of(&custom(r#"{"image": "x/f:1"}"#), "filter");
        assert!(!found.contains_key("dapr.io/app-port"));
    }
}
