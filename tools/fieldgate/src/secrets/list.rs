//! `fieldgate secrets list`: which Secrets there are and which are missing. Values never leave the API server's answer: kubectl's
//! template writes names alone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::objects::{BROKER_KEYS, HUB, HUB_KEY, check_names, module_secret};
use super::{Target, need_namespace};
use crate::install::say;

/// One line per Secret: name, when made, when changed, keys.
const TEMPLATE: &str = r#"go-template={{range .items}}{{.metadata.name}}{{"\t"}}{{.metadata.creationTimestamp}}{{"\t"}}{{with .metadata.annotations}}{{with index . "fieldgate.io/changed"}}{{.}}{{end}}{{end}}{{range $key, $value := .data}}{{"\t"}}{{$key}}{{end}}{{"\n"}}{{end}}"#;

/// A Secret without its values.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    since: String,
    keys: Vec<String>,
}

pub(super) async fn run(target: &Target) -> Result<()> {
    let (namespace, modules) = target.appliance()?;
    check_names(&modules)?;
    let kubectl = target.kubectl()?;
    need_namespace(&kubectl, &namespace, false).await?;
    let text = kubectl
        .run(&[
            "--namespace",
            &namespace,
            "get",
            "secrets",
            "--output",
            TEMPLATE,
        ])
        .await?;
    let now = OffsetDateTime::from(SystemTime::now());
    for line in report(&seen(&text), &modules, now) {
        say(&line);
    }
    Ok(())
}

fn seen(text: &str) -> BTreeMap<String, Seen> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.split('\t');
            let name = parts.next()?.to_owned();
            let made = parts.next()?;
            let changed = parts.next()?;
            let since = if changed.is_empty() { made } else { changed };
            let seen = Seen {
                since: since.to_owned(),
                keys: parts.map(str::to_owned).collect(),
            };
            Some((name, seen))
        })
        .collect()
}

fn report(seen: &BTreeMap<String, Seen>, modules: &[String], now: OffsetDateTime) -> Vec<String> {
    let mut wanted: Vec<(String, String)> = vec![(BROKER_KEYS.into(), "setup".into())];
    for module in modules {
        wanted.push((BROKER_KEYS.into(), module.clone()));
        wanted.push((module_secret(module), "nkey".into()));
    }
    if modules.iter().any(|module| module == "iothub-module") {
        wanted.push((HUB.into(), HUB_KEY.into()));
    }
    wanted.sort();
    let mut lines: Vec<String> = wanted
        .iter()
        .map(|(name, key)| match seen.get(name) {
            Some(found) if found.keys.contains(key) => {
                format!("{name}/{key}  {}", age(&found.since, now))
            }
            _ => format!("{name}/{key}  missing: {}", remedy(name)),
        })
        .collect();
    let ours = |name: &str, key: &str| wanted.iter().any(|(a, b)| a == name && b == key);
    for (name, found) in seen {
        if name != HUB && !name.starts_with("broker-") {
            continue;
        }
        for key in found.keys.iter().filter(|key| !ours(name, key)) {
            if name != BROKER_KEYS || key != "setup-public" {
                lines.push(format!(
                    "{name}/{key}  {}, of no module of the description",
                    age(&found.since, now)
                ));
            }
        }
    }
    lines
}

fn remedy(name: &str) -> &'static str {
    if name == HUB {
        "run `fieldgate secrets iothub --connection-string-file FILE`"
    } else {
        "run `fieldgate secrets`"
    }
}

fn age(since: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(since, &Rfc3339) {
        Ok(time) => match (now - time).whole_days() {
            0 => "since today".to_owned(),
            1 => "since yesterday".to_owned(),
            days => format!("{days} days old"),
        },
        Err(_) => format!("since {since}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_left_over() {
        let text = "broker-keys\t2030-01-01T00:00:00Z\t\tmodbus-reader\told\tsetup\tsetup-public\n\
                    broker-modbus-reader\t2030-01-01T00:00:00Z\t2030-01-10T00:00:00Z\tnkey\n\
                    other\t2030-01-01T00:00:00Z\t\tx\n";
        let now = OffsetDateTime::parse("2030-01-11T01:00:00Z", &Rfc3339).unwrap();
        let modules = ["iothub-module".to_owned(), "modbus-reader".to_owned()];
        assert_eq!(
            report(&seen(text), &modules, now),
            [
                "broker-iothub-module/nkey  missing: run `fieldgate secrets`",
                "broker-keys/iothub-module  missing: run `fieldgate secrets`",
                "broker-keys/modbus-reader  10 days old",
                "broker-keys/setup  10 days old",
                "broker-modbus-reader/nkey  since yesterday",
                "iothub/connection-string  missing: run `fieldgate secrets iothub --connection-string-file FILE`",
                "broker-keys/old  10 days old, of no module of the description",
            ]
        );
    }
}
