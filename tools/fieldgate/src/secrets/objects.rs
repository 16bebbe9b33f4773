//! The Secrets of an appliance: what there is, what is to be, and the objects between. Nothing here speaks to a cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::keys::Seed;

/// The broker's view: the seed of its set-up container, and everybody's public key.
pub(crate) const BROKER_KEYS: &str = "broker-keys";
/// The hub's connection string.
pub(crate) const HUB: &str = "iothub";
pub(crate) const HUB_KEY: &str = "connection-string";
const SETUP: &str = "setup";
const SETUP_PUBLIC: &str = "setup-public";
/// The password of several brokers among themselves: random as a seed is, and never a number for nats-server.
const ROUTES: &str = "routes";
const SEED_KEY: &str = "nkey";
/// When a key was made or changed last, by this device's clock.
pub(crate) const CHANGED: &str = "fieldgate.io/changed";

/// The Secret with a module's seed.
pub(crate) fn module_secret(module: &str) -> String {
    format!("broker-{module}")
}

/// The values of a Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// What the cluster has, by Secret; an absent one is not in it.
pub(crate) type Existing = BTreeMap<String, Data>;

/// What has to be written.
#[derive(PartialEq, Eq)]
pub(crate) struct Changes {
    /// The Secrets that differ, whole.
    pub(crate) secrets: BTreeMap<String, Data>,
    /// Modules whose key is new or another one.
    pub(crate) modules: Vec<String>,
    /// Whether the broker knows other keys than before.
    pub(crate) broker: bool,
}

/// A module's name must not be taken for one of the Secrets or keys beside the modules'.
pub(crate) fn check_names(modules: &[String]) -> Result<()> {
    for module in modules {
        if matches!(module.as_str(), "keys" | SETUP | SETUP_PUBLIC | ROUTES) {
            bail!(
                "a module cannot be called {module}: the broker's keys use this name; choose another one"
            );
        }
    }
    Ok(())
}

/// Names of the Secrets that [`plan`] wants to know.
pub(crate) fn names(modules: &[String]) -> Vec<String> {
    let mut names = vec![BROKER_KEYS.to_owned()];
    names.extend(modules.iter().map(|module| module_secret(module)));
    names
}

/// Keeps every key that is there, makes those that are missing and those to be rotated. The seed decides: a public key that does
/// not belong to it is replaced.
pub(crate) fn plan(existing: &Existing, modules: &[String], rotate: &[String]) -> Result<Changes> {
    check_names(modules)?;
    if let Some(unknown) = rotate
        .iter()
        .find(|module| !modules.contains(module) && *module != SETUP && *module != ROUTES)
    {
        bail!(
            "--rotate {unknown}: there is no such module; modules: {}",
            modules.join(", ")
        );
    }
    let mut secrets = BTreeMap::new();
    let mut changed = Vec::new();
    let old = existing.get(BROKER_KEYS).cloned().unwrap_or_default();
    let mut broker = old.clone();

    let rotated = |wanted: &str| rotate.iter().any(|name| name == wanted);
    let setup = seed(BROKER_KEYS, SETUP, &old, rotated(SETUP))?;
    let routes = seed(BROKER_KEYS, ROUTES, &old, rotated(ROUTES))?;
    for (key, secret) in [(SETUP, &setup), (ROUTES, &routes)] {
        broker.insert(key.to_owned(), secret.reveal().as_bytes().to_vec());
    }
    broker.insert(SETUP_PUBLIC.to_owned(), setup.public()?.into_bytes());

    for module in modules {
        let name = module_secret(module);
        let data = existing.get(&name).cloned().unwrap_or_default();
        let seed = seed(&name, SEED_KEY, &data, rotate.contains(module))?;
        let public = seed.public()?.into_bytes();
        let mut wanted = data.clone();
        wanted.insert(SEED_KEY.to_owned(), seed.reveal().as_bytes().to_vec());
        if wanted != data {
            secrets.insert(name, wanted);
            changed.push(module.clone());
        }
        broker.insert(module.clone(), public);
    }
    let differs = broker != old;
    if differs {
        secrets.insert(BROKER_KEYS.to_owned(), broker);
    }
    Ok(Changes {
        secrets,
        modules: changed,
        broker: differs,
    })
}

fn seed(secret: &str, key: &str, data: &Data, rotate: bool) -> Result<Seed> {
    match data.get(key) {
        Some(value) if !rotate => std::str::from_utf8(value)
            .map_err(|_| anyhow::anyhow!("is no text"))
            .and_then(Seed::parse)
            .with_context(|| {
                format!("key {key} of Secret {secret}; delete the Secret, or make a new key with --rotate")
            }),
        _ => Seed::generate(),
    }
}

/// The object of a Secret.
pub(crate) fn secret(namespace: &str, name: &str, data: &Data, changed: &str) -> Value {
    let data: BTreeMap<&str, String> = data
        .iter()
        .map(|(key, value)| (key.as_str(), STANDARD.encode(value)))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/part-of": "fieldgate",
                "app.kubernetes.io/managed-by": "fieldgate",
            },
            "annotations": {CHANGED: changed},
        },
        "data": data,
    })
}

/// The values of a Secret as kubectl gives it.
pub(crate) fn data(object: &Value) -> Result<Data> {
    let Some(fields) = object.get("data").and_then(Value::as_object) else {
        return Ok(Data::new());
    };
    fields
        .iter()
        .map(|(key, value)| {
            let text = value.as_str().unwrap_or_default();
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| anyhow::anyhow!("key {key} of {} is not base64", name_of(object)))?;
            Ok((key.clone(), bytes))
        })
        .collect()
}

/// `Secret broker-keys`.
pub(crate) fn name_of(object: &Value) -> String {
    let text = |place: &str| object.pointer(place).and_then(Value::as_str);
    format!(
        "{} {}",
        text("/kind").unwrap_or("object"),
        text("/metadata/name").unwrap_or("without a name")
    )
}

/// Takes the object's values out of a text, in whatever form they stand there.
pub(crate) fn redact(text: &str, object: &Value) -> String {
    let mut text = text.to_owned();
    let fields = object.get("data").and_then(Value::as_object);
    for value in fields
        .into_iter()
        .flatten()
        .filter_map(|(_, value)| value.as_str())
    {
        text = text.replace(value, "…");
        let plain = STANDARD
            .decode(value)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(plain) = plain.filter(|plain| !plain.is_empty()) {
            text = text.replace(&plain, "…");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn text(changes: &Changes, secret: &str, key: &str) -> String {
        String::from_utf8(changes.secrets[secret][key].clone()).unwrap()
    }

    #[test]
    fn an_empty_cluster_gets_a_key_for_everybody() {
        let changes = plan(&Existing::new(), &modules(&["a", "b"]), &[]).unwrap();
        assert_eq!(
            changes.secrets.keys().collect::<Vec<_>>(),
            ["broker-a", "broker-b", "broker-keys"]
        );
        for module in ["a", "b"] {
            let seed = Seed::parse(&text(&changes, &module_secret(module), "nkey")).unwrap();
            assert_eq!(text(&changes, BROKER_KEYS, module), seed.public().unwrap());
        }
        let setup = Seed::parse(&text(&changes, BROKER_KEYS, "setup")).unwrap();
        assert_eq!(
            text(&changes, BROKER_KEYS, "setup-public"),
            setup.public().unwrap()
        );
        // The broker never holds a module's seed.
        let held = &changes.secrets[BROKER_KEYS];
        assert!(!held.contains_key("nkey") && held.len() == 5);
    }

    #[test]
    fn what_is_there_stays() {
        let first = plan(&Existing::new(), &modules(&["a"]), &[]).unwrap();
        let again = plan(&first.secrets, &modules(&["a"]), &[]).unwrap();
        assert!(again.secrets.is_empty() && again.modules.is_empty() && !again.broker);

        let more = plan(&first.secrets, &modules(&["a", "b"]), &[]).unwrap();
        assert_eq!(
            more.secrets.keys().collect::<Vec<_>>(),
            ["broker-b", "broker-keys"]
        );
        assert_eq!(more.modules, ["b"]);
        assert_eq!(
            text(&more, BROKER_KEYS, "a"),
            text(&first, BROKER_KEYS, "a")
        );
        assert_eq!(
            text(&more, BROKER_KEYS, "setup"),
            text(&first, BROKER_KEYS, "setup")
        );
    }

    #[test]
    fn rotating_changes_one_module_and_the_broker() {
        let first = plan(&Existing::new(), &modules(&["a", "b"]), &[]).unwrap();
        let changes = plan(&first.secrets, &modules(&["a", "b"]), &modules(&["a"])).unwrap();
        assert_eq!(changes.modules, ["a"]);
        assert!(changes.broker);
        assert_ne!(
            text(&changes, "broker-a", "nkey"),
            text(&first, "broker-a", "nkey")
        );
        assert_eq!(
            text(&changes, BROKER_KEYS, "b"),
            text(&first, BROKER_KEYS, "b")
        );
        assert!(plan(&first.secrets, &modules(&["a"]), &modules(&["c"])).is_err());
    }

    #[test]
    fn a_public_key_that_is_lost_or_wrong_comes_from_the_seed() {
        let mut existing = plan(&Existing::new(), &modules(&["a"]), &[])
            .unwrap()
            .secrets;
        let right = existing[BROKER_KEYS]["a"].clone();
        existing
            .get_mut(BROKER_KEYS)
            .unwrap()
            .insert("a".to_owned(), b"UWRONG".to_vec());
        let changes = plan(&existing, &modules(&["a"]), &[]).unwrap();
        assert_eq!(changes.secrets[BROKER_KEYS]["a"], right);
        assert!(changes.modules.is_empty() && changes.broker);
    }

    #[test]
    fn a_damaged_seed_is_named_but_not_shown() {
        let mut existing = plan(&Existing::new(), &modules(&["a"]), &[])
            .unwrap()
            .secrets;
        existing
            .get_mut("broker-a")
            .unwrap()
            .insert("nkey".to_owned(), b"SUdamaged".to_vec());
        let Err(error) = plan(&existing, &modules(&["a"]), &[]) else {
            panic!("the seed was taken");
        };
        let said = format!("{error:#}");
        assert!(
            said.contains("broker-a") && said.contains("--rotate") && !said.contains("SUdamaged"),
            "{said}"
        );
    }

    #[test]
    fn names_that_the_broker_uses_are_refused() {
        for name in ["keys", "setup", "setup-public", "routes"] {
            assert!(check_names(&modules(&[name])).is_err(), "{name}");
        }
    }

    #[test]
    fn objects_come_back_as_they_went() {
        let changes = plan(&Existing::new(), &modules(&["a"]), &[]).unwrap();
        let object = secret("fieldgate", "broker-a", &changes.secrets["broker-a"], "now");
        assert_eq!(data(&object).unwrap(), changes.secrets["broker-a"]);
        assert_eq!(name_of(&object), "Secret broker-a");
    }

    #[test]
    fn an_error_text_loses_the_values() {
        let data = Data::from([("k".to_owned(), b"hidden-value".to_vec())]);
        let object = secret("n", "s", &data, "now");
        let text = format!("bad: {} / hidden-value", STANDARD.encode("hidden-value"));
        assert_eq!(redact(&text, &object), "bad: … / …");
    }
}
