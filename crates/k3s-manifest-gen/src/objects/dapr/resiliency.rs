//! How a module's sidecar bears failures. What dapr 1.18.2 does, as far as it decides what stands here:
//!
//! **Dead letters** (pkg/runtime/subscription, postman/http). With `deadLetterTopic` an event goes there after its *first* failed
//! delivery when the component has no inbound retry: also when the module answered RETRY or 5xx, or could not be reached. With an
//! inbound retry the sidecar keeps the event (the component tells the broker that it is being worked on) and tries again; only
//! when the retries are used up it goes to the dead letters. At once go there: what is no CloudEvent, what has expired, and what
//! the module answered with DROP or 404. So posted subscriptions have a retry that outlives a restart of the module, and the
//! check in [`super::super::sidecar`] that stops them while it is not ready. Streamed subscriptions have none: what a module of ours
//! answers with RETRY goes back to the broker and comes again, and dead letters it publishes itself, with the reason.
//!
//! **Calls** (pkg/api/http/directmessaging.go, pkg/messaging). Without a target for the application, Dapr repeats a call three
//! times when the connection fails. With one, only the target's policies hold. `matching` decides about answers; a failure
//! without any answer is always repeated, whatever it says. So a call whose connection breaks in the middle may be done twice, as
//! it may with Dapr's default. An answer of 503 says that nothing was done (a standby during an update), and is repeated. What
//! access control refuses counts as a failure without an answer: the caller learns of it when the retries are over, which is why they
//! end after 5 s, within the deadline that a direct method usually has. Addresses of an application are kept for 20 s. Without a
//! target a failed call makes the sidecar look them up again; with one it does not, so after a pod was lost (not after an update, where
//! the new one is known by then) calls to it may fail for that long.
//!
//! **Circuit breakers** count every answer of 400 and more as a failure, and one per called method (not per device), so a
//! low threshold would let one dead device, or one caller with wrong input, refuse the calls of all. They are for a target that
//! fails throughout.

use std::collections::BTreeMap;

use super::super::metadata::object;
use super::kinds::{
    CircuitBreaker, ComponentPolicies, Kind, Policies, PolicyNames, Resiliency, Retry,
    RetryMatching, Targets,
};
use super::{metadata, publisher};
use crate::Object;
use crate::description::ResolvedModule;

const CALL: &str = "call";
const DELIVER: &str = "deliver";
const PUBLISH: &str = "publish";
/// Longer than a command of ours may take (60 s), so that it is the module who says that it took too long.
const CALL_TIMEOUT: &str = "65s";
/// The component itself gives up after 5 s.
const PUBLISH_TIMEOUT: &str = "10s";

/// The Resiliency of a module; it has the module's name. None for one that neither publishes nor receives nor calls.
pub(super) fn object_of(namespace: &str, module: &ResolvedModule) -> Option<Object> {
    let targets = targets(module);
    if targets.apps.is_empty() && targets.components.is_empty() {
        return None;
    }
    let resiliency = Resiliency {
        policies: policies(module),
        targets,
    };
    let meta = metadata(namespace, module, &module.name);
    Some(object(
        "How long its sidecar waits, what it repeats, and when it stops trying for a while",
        &resiliency.resource(meta, vec![module.name.clone()]),
    ))
}

fn policies(module: &ResolvedModule) -> Policies {
    let mut policies = Policies::default();
    if !module.calls.is_empty() {
        policies.timeouts.insert(CALL, CALL_TIMEOUT);
        policies.retries.insert(CALL, call_retry());
        policies.circuit_breakers.insert(CALL, call_breaker());
    }
    if posts(module) {
        policies.retries.insert(DELIVER, deliver_retry());
    }
    if !module.publishes.is_empty() {
        policies.timeouts.insert(PUBLISH, PUBLISH_TIMEOUT);
        policies.retries.insert(PUBLISH, publish_retry());
        policies.circuit_breakers.insert(PUBLISH, publish_breaker());
    }
    policies
}

/// For 5 s: a standby takes over as soon as the instance before it has ended.
fn call_retry() -> Retry {
    Retry {
        policy: "constant",
        duration: Some("500ms"),
        max_retries: 10,
        matching: Some(RetryMatching {
            http: "503",
            // UNAVAILABLE
            grpc: "14",
        }),
        ..Retry::default()
    }
}

fn call_breaker() -> CircuitBreaker {
    CircuitBreaker {
        max_requests: 1,
        interval: Some("30s"),
        timeout: "5s",
        trip: "consecutiveFailures >= 60",
    }
}

/// From half a second to half a minute apart, for about ten minutes; then the event goes to the dead letters.
fn deliver_retry() -> Retry {
    Retry {
        policy: "exponential",
        max_interval: Some("30s"),
        max_retries: 30,
        ..Retry::default()
    }
}

/// A broker that restarts is back within a few seconds. What is not published by then fails, and a module of ours repeats it with
/// the same id.
fn publish_retry() -> Retry {
    Retry {
        policy: "exponential",
        max_interval: Some("2s"),
        max_retries: 3,
        ..Retry::default()
    }
}

/// A broker that takes nothing is left alone for two seconds: each attempt would send it everything again.
fn publish_breaker() -> CircuitBreaker {
    CircuitBreaker {
        max_requests: 1,
        interval: None,
        timeout: "2s",
        trip: "consecutiveFailures >= 5",
    }
}

fn targets(module: &ResolvedModule) -> Targets {
    let mut components = BTreeMap::new();
    if !module.publishes.is_empty() {
        components.insert(
            publisher(&module.name),
            ComponentPolicies {
                outbound: Some(publish_policies()),
                inbound: None,
            },
        );
    }
    for subscription in &module.subscribes {
        let inbound = subscription.route.is_some().then(|| PolicyNames {
            // No time-out: it would take an event for undelivered that the module is still working on.
            retry: Some(DELIVER),
            ..PolicyNames::default()
        });
        let outbound = subscription.dead_letter.map(|_| publish_policies());
        if inbound.is_some() || outbound.is_some() {
            components.insert(
                subscription.component.clone(),
                ComponentPolicies { inbound, outbound },
            );
        }
    }
    let apps = module.calls.iter().map(|call| {
        let names = PolicyNames {
            timeout: Some(CALL),
            retry: Some(CALL),
            circuit_breaker: Some(CALL),
        };
        (call.app.clone(), names)
    });
    Targets {
        apps: apps.collect(),
        components,
    }
}

fn publish_policies() -> PolicyNames {
    PolicyNames {
        timeout: Some(PUBLISH),
        retry: Some(PUBLISH),
        circuit_breaker: Some(PUBLISH),
    }
}

fn posts(module: &ResolvedModule) -> bool {
    module.subscribes.iter().any(|one| one.route.is_some())
}
