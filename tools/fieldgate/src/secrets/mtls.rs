//! `fieldgate secrets renew-mtls`: a new certification authority for Dapr.
//!
//! Sentry makes one at its first start that lasts 365 days (Dapr 1.18, pkg/sentry/server/ca/bundle) and never another: after
//! that no sidecar gets a certificate. Emptying its Secret and ConfigMap makes sentry begin anew.

use anyhow::Result;
use serde_json::json;

use super::{Target, restart};
use crate::install::say;

const NAMESPACE: &str = "dapr-system";
const BUNDLE: &str = "dapr-trust-bundle";

pub(super) async fn renew(target: &Target) -> Result<()> {
    let (namespace, modules) = target.appliance()?;
    let kubectl = target.kubectl()?;
    let empty = json!({"data": null}).to_string();
    for kind in ["secret", "configmap"] {
        kubectl
            .run(&[
                "--namespace",
                NAMESPACE,
                "patch",
                kind,
                BUNDLE,
                "--type",
                "merge",
                "--patch",
                &empty,
            ])
            .await?;
    }
    say(&format!("emptied {NAMESPACE}/{BUNDLE}"));
    if target.no_restart {
        say("restart dapr-sentry, dapr-operator, dapr-sidecar-injector, then every module");
        return Ok(());
    }
    // Each needs what the one before gives out.
    for name in ["dapr-sentry", "dapr-operator", "dapr-sidecar-injector"] {
        restart(&kubectl, NAMESPACE, &format!("deployment/{name}")).await?;
    }
    // The sidecar's trust anchors are in its environment: only a new pod has the new ones.
    for module in modules {
        restart(&kubectl, &namespace, &format!("deployment/{module}")).await?;
    }
    Ok(())
}
