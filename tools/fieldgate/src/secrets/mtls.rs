//! `fieldgate secrets renew-mtls`: a new certification authority for Dapr.
//!
//! Sentry makes one at its first start that lasts 365 days (Dapr 1.18, pkg/sentry/server/ca/bundle) and never another: after
//! that no sidecar gets a certificate. Emptying its Secret and ConfigMap makes sentry begin anew.

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;

use super::kubectl::Kubectl;
use super::{Target, restart};
use crate::install::say;

const NAMESPACE: &str = "dapr-system";
const BUNDLE: &str = "dapr-trust-bundle";

/// The certificates in the Secret: root and issuer. Not its keys, which nobody needs to see.
const CERTIFICATES: &str = r"{.data.ca\.crt} {.data.issuer\.crt}";

#[derive(Debug, Args)]
pub(super) struct RenewArgs {
    /// Only when the present one ends within so many days; for a timer
    #[arg(long, value_name = "DAYS")]
    within: Option<u16>,
}

pub(super) async fn renew(target: &Target, args: &RenewArgs) -> Result<()> {
    let (namespace, modules) = target.appliance()?;
    let kubectl = target.kubectl()?;
    if let Some(days) = args.within {
        let Some(end) = end(&kubectl).await? else {
            say("nothing to do: Dapr has made no authority yet");
            return Ok(());
        };
        let due = end - Duration::days(days.into());
        if OffsetDateTime::now_utc() < due {
            say(&format!(
                "nothing to do: Dapr's authority ends on {}, and is renewed from {} on",
                end.date(),
                due.date()
            ));
            return Ok(());
        }
        say(&format!("Dapr's authority ends on {}", end.date()));
    }
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

/// When the first of the certificates ends; nothing while there is none.
async fn end(kubectl: &Kubectl) -> Result<Option<OffsetDateTime>> {
    let path = format!("jsonpath={CERTIFICATES}");
    let found = kubectl
        .run(&[
            "--namespace",
            NAMESPACE,
            "get",
            "secret",
            BUNDLE,
            "--ignore-not-found",
            "--output",
            &path,
        ])
        .await?;
    first_end(&found).with_context(|| {
        format!("reading the certificates in {NAMESPACE}/{BUNDLE}; `fieldgate secrets renew-mtls` makes new ones")
    })
}

/// Of PEM texts in Base64, as a Secret holds them.
fn first_end(values: &str) -> Result<Option<OffsetDateTime>> {
    let mut first: Option<OffsetDateTime> = None;
    for value in values.split_whitespace() {
        for pem in Pem::iter_from_buffer(&STANDARD.decode(value)?) {
            let pem = pem.map_err(|error| anyhow!("{error}"))?;
            let certificate = pem.parse_x509().map_err(|error| anyhow!("{error}"))?;
            let end = certificate.validity().not_after.to_datetime();
            first = Some(first.map_or(end, |first| first.min(end)));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    /// Of an issuer that ended on 2 January 2020, made with OpenSSL 3.0.
    const ENDED: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBCTCBsAIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZpc3N1ZXIwHhcNMTkw\n\
MTAyMDAwMDAwWhcNMjAwMTAyMDAwMDAwWjARMQ8wDQYDVQQDDAZpc3N1ZXIwWTAT\n\
BgcqhkjOPQIBBggqhkjOPQMBBwNCAATyDc6FCuHZyjR28vWU60C7kxCpAsyzpvLj\n\
aqMmkUsc4DHKebaOWZ2+ofNXYJl/AQ7AON4qdygC/AJxeFz9h0nmMAoGCCqGSM49\n\
BAMCA0gAMEUCIQDicN+gYWOym35qAlL+rcKuArPmHX/s335qN2vc4SRDOQIgVwxB\n\
77RpxyJbap09GgS49VreYhWWJFrH4oqn6dTwD/o=\n\
-----END CERTIFICATE-----\n\
";
    const LATER: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBCDCBsAIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZpc3N1ZXIwHhcNMTkw\n\
MTAyMDAwMDAwWhcNMzAwMTAyMDAwMDAwWjARMQ8wDQYDVQQDDAZpc3N1ZXIwWTAT\n\
BgcqhkjOPQIBBggqhkjOPQMBBwNCAASv5xU2m/uqcDAEzhFVvs6FJfnz4QJqmNSC\n\
t2WHvjcQwKkGPESwZkKuWFWQ+M3Bz6PTQYDJURQDEPfXjJ2nueSbMAoGCCqGSM49\n\
BAMCA0cAMEQCHwTRnp+Txk6bIQ/km2FKjkmgmw9S1+SvsQ8U0K66SzMCIQCqzVAk\n\
0FHLNuIwjZJVEX9BYlEDZB2v0QSTdEwJNgSxFw==\n\
-----END CERTIFICATE-----\n\
";

    #[test]
    fn the_first_that_ends_counts() {
        let ended = datetime!(2020-01-02 00:00 UTC);
        assert_eq!(first_end(&STANDARD.encode(ENDED)).unwrap(), Some(ended));
        let both = [LATER, ENDED].map(|text| STANDARD.encode(text)).join(" ");
        assert_eq!(first_end(&both).unwrap(), Some(ended));
        let chain = STANDARD.encode(format!("{LATER}{ENDED}"));
        assert_eq!(first_end(&chain).unwrap(), Some(ended));
    }

    #[test]
    fn what_is_no_certificate_is_an_error_and_nothing_is_nothing() {
        assert_eq!(first_end(" ").unwrap(), None);
        assert!(first_end("###").is_err());
        let spoilt = ENDED.replace("MII", "AAA");
        assert!(first_end(&STANDARD.encode(spoilt)).is_err());
    }
}
