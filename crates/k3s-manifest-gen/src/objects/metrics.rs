//! Services by which Prometheus finds metrics.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{Labels, map, meta, object};
use crate::Object;

/// A Service for the metrics of the pods with these labels. It has no address of its own and lists pods that are not ready
/// too: each pod counts for itself, and one that is not ready is the one to look at.
pub(super) fn service(
    namespace: &str,
    of: &str,
    port: u16,
    labels: Labels,
    pods: Labels,
) -> Object {
    let number = port.to_string();
    let mut metadata = meta(namespace, format!("{of}-metrics"), labels);
    metadata.annotations = Some(map([
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", &number),
        ("prometheus.io/path", "/metrics"),
    ]));
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(pods),
            ports: Some(vec![service_port("metrics", port)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    object(
        "For Prometheus, in a namespace with the label fieldgate.io/monitoring=true",
        &service,
    )
}

/// A port of a Service that is the same on the pods.
pub(super) fn service_port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(port))),
        ..ServicePort::default()
    }
}
