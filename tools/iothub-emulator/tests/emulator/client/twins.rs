//! Twins: the desired section is known whole at any time, reports get their version.

use super::Peer;
use crate::support::{Bench, PATIENCE};
use serde_json::json;
use tokio::time::timeout;

#[tokio::test]
async fn the_desired_section_comes_whole_after_connecting_and_then_by_patches() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for client_id in ["dev1", "dev1/gateway"] {
        let login = bench.register(client_id).await;
        let path = format!("{}/twin", crate::support::resource(&login.identity));
        let desire = async |patch: &str| {
            let body = format!(r#"{{"desired":{patch}}}"#);
            assert_eq!(bench.http("PATCH", &path, &body).await.0, 200);
        };
        desire(r#"{"interval":5,"limits":{"high":80,"low":20}}"#).await;
        let mut peer = Peer::start(&bench, client_id).await;
        let whole = json!({"interval": 5, "limits": {"high": 80, "low": 20}});
        assert_eq!(peer.desired().await, (2, whole, true));

        desire(r#"{"limits":{"low":null}}"#).await;
        assert_eq!(
            peer.desired().await,
            (3, json!({"limits": {"low": null}}), false)
        );

        // The next notification gets lost; the one after it shows the gap, and the whole section is read again.
        bench.fault(r#"{"kind":"swallow-desired","count":1}"#).await;
        desire(r#"{"lost":true}"#).await;
        desire(r#"{"interval":6}"#).await;
        let whole = json!({"interval": 6, "limits": {"high": 80}, "lost": true});
        assert_eq!(peer.desired().await, (5, whole, true));
        desire(r#"{"interval":7}"#).await;
        assert_eq!(peer.desired().await, (6, json!({"interval": 7}), false));

        // Changed while away.
        bench.fault(r#"{"kind":"down","seconds":600}"#).await;
        desire(r#"{"lost":null}"#).await;
        assert_eq!(bench.http("DELETE", "/faults", "").await.0, 200);
        let whole = json!({"interval": 7, "limits": {"high": 80}});
        assert_eq!(peer.desired().await, (7, whole, true));
        peer.client.stop().await;
    }
}

/// A storm of changes around many connections: what the user has put together is what the hub has.
#[tokio::test]
async fn whole_sections_and_patches_add_up_to_the_twin() {
    let bench = Bench::start().await;
    let mut peer = Peer::start(&bench, "dev1").await;
    let changes = async {
        for number in 0..200 {
            let key = number % 7;
            let body = match number % 3 {
                0 => json!({"desired": {format!("k{key}"): null}}),
                _ => json!({"desired": {format!("k{key}"): {"n": number}}}),
            };
            let (status, _) = bench
                .http("PATCH", "/devices/dev1/twin", &body.to_string())
                .await;
            assert_eq!(status, 200);
            if number % 40 == 20 {
                bench.fault(r#"{"kind":"drop"}"#).await;
            }
            if number % 25 == 7 {
                bench.fault(r#"{"kind":"swallow-desired","count":2}"#).await;
            }
        }
        // Nothing may be lost at the very end: that no later notification would show.
        bench.http("DELETE", "/faults", "").await;
        let last = r#"{"desired":{"last":true}}"#;
        assert_eq!(bench.http("PATCH", "/devices/dev1/twin", last).await.0, 200);
    };
    let follow = async {
        let mut twin = json!({});
        loop {
            let (version, patch, complete) = peer.desired().await;
            if complete {
                twin = patch;
            } else {
                iothub_client::protocol::twin::merge_patch(&mut twin, &patch);
            }
            // A new twin is version 1, and each of the 201 changes adds one.
            if version == 202 {
                break twin;
            }
        }
    };
    let ((), twin) = tokio::join!(changes, follow);
    let (_, mut hub) = bench.http("GET", "/devices/dev1/twin", "").await;
    let desired = hub["desired"].as_object_mut().unwrap();
    desired.remove("$version");
    assert_eq!(twin, hub["desired"]);
}

#[tokio::test]
async fn a_report_returns_its_version_and_waits_for_a_connection() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    for client_id in ["dev1", "dev1/gateway"] {
        let peer = Peer::start(&bench, client_id).await;
        let login = bench.register(client_id).await;
        let path = format!("{}/twin", crate::support::resource(&login.identity));
        let first = json!({"module": {"state": "ready", "errors": []}, "old": 1});
        assert_eq!(peer.client.report(&first).await.unwrap(), 2);
        assert_eq!(peer.client.report(&json!({"old": null})).await.unwrap(), 3);
        let (_, twin) = bench.http("GET", &path, "").await;
        assert_eq!(
            twin["reported"],
            json!({"module": {"state": "ready", "errors": []}, "$version": 3})
        );
        let own = peer.client.twin().await.unwrap();
        assert_eq!(
            (own.reported_version, &own.reported["module"]["state"]),
            (3, &json!("ready"))
        );

        let error = peer
            .client
            .report(&json!({"text": "x".repeat(40_000)}))
            .await;
        assert!(error.is_err(), "the hub keeps 32 KB");

        bench.fault(r#"{"kind":"down","seconds":600}"#).await;
        peer.state("the loss", |state| !state.is_connected()).await;
        let patch = json!({"after": true});
        let report = peer.client.report(&patch);
        let end = bench.http("DELETE", "/faults", "");
        let (version, _) = tokio::join!(timeout(PATIENCE, report), end);
        assert_eq!(version.unwrap().unwrap(), 4);
        peer.client.stop().await;
    }
}
