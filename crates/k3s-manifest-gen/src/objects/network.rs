//! Who may talk to whom. Everything is closed, and opened one by one; it holds where the cluster's network enforces
//! NetworkPolicy (k3s does). Rules are matched behind the address of a Service, so ports are those of the pods.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{
    Labels, MODULE_LABEL, MONITORING_LABEL, labels, map, meta, module_labels, module_selector,
    object, selector,
};
use crate::Object;
use crate::description::{Egress, Known, ResolvedModule};

/// Pods and services of k3s (its defaults `cluster-cidr` and `service-cidr`): never meant by an address outside.
const CLUSTER: [&str; 2] = ["10.42.0.0/16", "10.43.0.0/16"];
const PODS: &str = "10.42.0.0/16";
pub(super) const BROKER_PORT: u16 = 4222;
pub(super) const BROKER_PEER_PORT: u16 = 6222;
pub(super) const MODULE_METRICS_PORT: u16 = 9600;
pub(super) const BROKER_METRICS_PORT: u16 = 9601;
pub(super) const SIDECAR_METRICS_PORT: u16 = 9090;
/// Where sidecars call each other.
const SIDECAR_PORT: u16 = 50002;
/// The pods of Dapr's control plane that every sidecar needs: (label `app`, port of the container), as in its chart 1.18.
const CONTROL_PLANE: [(&str, u16); 2] = [("dapr-sentry", 50001), ("dapr-operator", 6500)];

/// The policies for the whole namespace.
pub(super) fn of_namespace(namespace: &str) -> Vec<Object> {
    let policy = |name: &str, comment: &str, spec| {
        let policy = NetworkPolicy {
            metadata: meta(namespace, name, labels(name, "network")),
            spec: Some(spec),
        };
        object(comment, &policy)
    };
    let modules = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: MODULE_LABEL.to_owned(),
            operator: "Exists".to_owned(),
            values: None,
        }]),
        match_labels: None,
    };
    let mut needed = vec![egress(vec![pods(broker_labels())], &[BROKER_PORT])];
    needed.extend(CONTROL_PLANE.map(|(app, port)| {
        let peer = NetworkPolicyPeer {
            namespace_selector: Some(namespace_named("dapr-system")),
            ..pods(map([("app", app)]))
        };
        egress(vec![peer], &[port])
    }));
    vec![
        policy(
            "fieldgate-default-deny",
            "Nothing comes in and nothing goes out, except what another policy names",
            NetworkPolicySpec {
                pod_selector: Some(LabelSelector::default()),
                policy_types: Some(both()),
                ..NetworkPolicySpec::default()
            },
        ),
        policy(
            "fieldgate-names",
            "Everybody may look up names",
            NetworkPolicySpec {
                pod_selector: Some(LabelSelector::default()),
                policy_types: Some(vec!["Egress".to_owned()]),
                egress: Some(vec![NetworkPolicyEgressRule {
                    to: Some(vec![NetworkPolicyPeer {
                        namespace_selector: Some(namespace_named("kube-system")),
                        ..NetworkPolicyPeer::default()
                    }]),
                    ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
                }]),
                ingress: None,
            },
        ),
        policy(
            "fieldgate-metrics",
            "Namespaces with the label fieldgate.io/monitoring=true may read metrics",
            NetworkPolicySpec {
                pod_selector: Some(LabelSelector::default()),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(vec![from_monitoring(&[
                    SIDECAR_METRICS_PORT,
                    MODULE_METRICS_PORT,
                    BROKER_METRICS_PORT,
                ])]),
                egress: None,
            },
        ),
        policy(
            "fieldgate-sidecars",
            "Sidecars reach the broker and Dapr's control plane: sentry for their certificate, the operator for their components",
            NetworkPolicySpec {
                pod_selector: Some(modules),
                policy_types: Some(vec!["Egress".to_owned()]),
                egress: Some(needed),
                ingress: None,
            },
        ),
    ]
}

/// Who reaches the broker, and with several servers the broker itself.
pub(super) fn of_broker(namespace: &str, replicas: u8) -> Object {
    let mut from_modules = vec![NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            pod_selector: Some(LabelSelector {
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: MODULE_LABEL.to_owned(),
                    operator: "Exists".to_owned(),
                    values: None,
                }]),
                match_labels: None,
            }),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![port("TCP", BROKER_PORT)]),
    }];
    let mut types = vec!["Ingress".to_owned()];
    let mut to_peers = None;
    if replicas > 1 {
        types = both();
        let peers = vec![pods(broker_labels())];
        from_modules.push(ingress(peers.clone(), &[BROKER_PEER_PORT]));
        to_peers = Some(vec![egress(peers, &[BROKER_PEER_PORT])]);
    }
    let policy = NetworkPolicy {
        metadata: meta(namespace, "broker", labels("broker", "broker")),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(broker_labels())),
            policy_types: Some(types),
            ingress: Some(from_modules),
            egress: to_peers,
        }),
    };
    object(
        "Only modules reach the broker; its users and rights come on top",
        &policy,
    )
}

/// What one module adds: who calls it, whom it calls, which addresses outside it reaches. None where there is nothing.
pub(super) fn of_module(namespace: &str, module: &ResolvedModule) -> Option<Object> {
    let mut incoming = Vec::new();
    let callers = apps(module.callers.iter().map(|call| call.app.as_str()));
    if !callers.is_empty() {
        incoming.push(ingress(callers, &[SIDECAR_PORT]));
    }
    if let Some(own) = module
        .metrics_port
        .filter(|port| *port != MODULE_METRICS_PORT)
    {
        incoming.push(from_monitoring(&[own]));
    }
    let mut outgoing = Vec::new();
    let called = apps(module.calls.iter().map(|call| call.app.as_str()));
    if !called.is_empty() {
        outgoing.push(egress(called, &[SIDECAR_PORT]));
    }
    outgoing.extend(outside(&module.egress));
    if module.kind == Known::IothubModule {
        // Its sidecar reads the secret from the API server: at its service address, or where that leads, on the node.
        outgoing.push(egress(vec![block("0.0.0.0/0", &[PODS])], &[443, 6443]));
    }
    let types = [
        ("Ingress", !incoming.is_empty()),
        ("Egress", !outgoing.is_empty()),
    ];
    let types: Vec<String> = types
        .into_iter()
        .filter(|(_, used)| *used)
        .map(|(name, _)| name.to_owned())
        .collect();
    if types.is_empty() {
        return None;
    }
    let policy = NetworkPolicy {
        metadata: meta(namespace, &module.name, module_labels(&module.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(module_selector(&module.name))),
            policy_types: Some(types),
            ingress: (!incoming.is_empty()).then_some(incoming),
            egress: (!outgoing.is_empty()).then_some(outgoing),
        }),
    };
    Some(object(
        "Whom it reaches and who reaches it, beyond what holds for all",
        &policy,
    ))
}

/// The labels of the broker's pods.
pub(super) fn broker_labels() -> Labels {
    map([
        ("app.kubernetes.io/name", "broker"),
        ("app.kubernetes.io/component", "broker"),
    ])
}

/// One rule for each set of ports, in the order in which they are first named.
fn outside(egresses: &[Egress]) -> Vec<NetworkPolicyEgressRule> {
    let mut rules: Vec<(&[u16], Vec<NetworkPolicyPeer>)> = Vec::new();
    for one in egresses {
        let inner: Vec<&str> = CLUSTER
            .into_iter()
            .filter(|network| contains(&one.cidr, network))
            .collect();
        let peer = block(&one.cidr, &inner);
        match rules.iter_mut().find(|(ports, _)| *ports == one.ports) {
            Some((_, peers)) => peers.push(peer),
            None => rules.push((&one.ports, vec![peer])),
        }
    }
    rules
        .into_iter()
        .map(|(ports, peers)| egress(peers, ports))
        .collect()
}

/// Whether the larger network holds the smaller one, and more. What is no network holds nothing.
fn contains(larger: &str, smaller: &str) -> bool {
    fn parse(cidr: &str) -> Option<(u32, u32)> {
        let (address, length) = cidr.split_once('/')?;
        let IpAddr::V4(address) = address.parse().ok()? else {
            return None;
        };
        let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
        Some((address.to_bits(), length))
    }
    let (Some((outer, outer_length)), Some((inner, inner_length))) =
        (parse(larger), parse(smaller))
    else {
        return false;
    };
    // A shift by all 32 bits is 0.0.0.0/0.
    let mask = u32::MAX.checked_shl(32 - outer_length).unwrap_or(0);
    outer_length < inner_length && outer & mask == inner & mask
}

fn apps<'a>(names: impl Iterator<Item = &'a str>) -> Vec<NetworkPolicyPeer> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| pods(module_selector(name)))
        .collect()
}

fn pods(labels: Labels) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector(labels)),
        ..NetworkPolicyPeer::default()
    }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<String> = except.iter().map(|network| (*network).to_owned()).collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    }
}

/// The label that every namespace has of its own.
fn namespace_named(name: &str) -> LabelSelector {
    selector(map([("kubernetes.io/metadata.name", name)]))
}

fn from_monitoring(ports: &[u16]) -> NetworkPolicyIngressRule {
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(selector(map([(MONITORING_LABEL, "true")]))),
        ..NetworkPolicyPeer::default()
    };
    ingress(vec![peer], ports)
}

fn ingress(from: Vec<NetworkPolicyPeer>, ports: &[u16]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: tcp(ports),
    }
}

fn egress(to: Vec<NetworkPolicyPeer>, ports: &[u16]) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(to),
        ports: tcp(ports),
    }
}

/// No port named is every port.
fn tcp(ports: &[u16]) -> Option<Vec<NetworkPolicyPort>> {
    let ports: Vec<_> = ports.iter().map(|number| port("TCP", *number)).collect();
    (!ports.is_empty()).then_some(ports)
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}

fn both() -> Vec<String> {
    vec!["Ingress".to_owned(), "Egress".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outside_leave_the_cluster_out() {
        for (larger, smaller, held) in [
            ("10.0.0.0/8", "10.42.0.0/16", true),
            ("0.0.0.0/0", "10.43.0.0/16", true),
            ("10.42.0.0/16", "10.42.0.0/16", false),
            ("192.168.0.0/16", "10.42.0.0/16", false),
            ("10.42.7.0/24", "10.42.0.0/16", false),
            ("::/0", "10.42.0.0/16", false),
            ("nonsense", "10.42.0.0/16", false),
        ] {
            assert_eq!(contains(larger, smaller), held, "{larger} {smaller}");
        }
        let rules = outside(&[
            Egress {
                cidr: "10.0.0.0/8".to_owned(),
                ports: vec![502],
            },
            Egress {
                cidr: "192.168.1.10/32".to_owned(),
                ports: vec![],
            },
            Egress {
                cidr: "172.16.0.0/12".to_owned(),
                ports: vec![502],
            },
        ]);
        assert_eq!(rules.len(), 2, "{rules:?}");
        let first = rules[0].to.as_ref().unwrap();
        let except = first[0].ip_block.as_ref().unwrap().except.as_ref().unwrap();
        assert_eq!(except, &CLUSTER.map(str::to_owned));
        assert!(first[1].ip_block.as_ref().unwrap().except.is_none());
        assert!(rules[1].ports.is_none(), "no port named is every port");
    }
}
