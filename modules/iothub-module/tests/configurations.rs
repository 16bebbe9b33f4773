//! The documents in `configurations/`: what holds, and what is said about what does not.

use std::path::PathBuf;

use iothub_module::configuration::{Configuration, Destination, HubCredentials, WhenFull};
use module_runtime::Loaded;

fn load(name: &str) -> Result<Loaded<Configuration>, Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/configurations")
        .join(name);
    module_runtime::load(&path).map_err(|error| {
        let problem = |problem: &module_runtime::Problem| {
            format!("{}:{}: {}", problem.line, problem.path, problem.message)
        };
        error.problems.iter().map(problem).collect()
    })
}

#[test]
fn a_full_document_holds() {
    let loaded = load("full.yaml").unwrap();
    assert_eq!(
        (loaded.name.as_str(), loaded.version.as_str()),
        ("gate-7", "3")
    );
    let configuration = loaded.configuration;
    assert_eq!(configuration.queue.when_full, WhenFull::Reject);
    let names: Vec<&str> = configuration
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["alarms", "debug", "trends"]);
    assert!(
        matches!(configuration.hub.credentials(), Ok(HubCredentials::Secret(secret)) if secret.store == "secrets")
    );
    let destinations: Vec<Destination> = configuration
        .subscriptions
        .iter()
        .map(|subscription| subscription.destination())
        .collect();
    assert_eq!(
        destinations,
        [
            Destination::Queue,
            Destination::Queue,
            Destination::Reported
        ]
    );
}

#[test]
fn a_short_document_means_the_same_as_the_defaults_written_out() {
    let least = load("least.yaml").unwrap().configuration;
    let full = load("full.yaml").unwrap().configuration;
    assert_eq!(least.intake, full.intake);
    assert_eq!(least.twin, full.twin);
    assert_eq!(least.queue.max_bytes, full.queue.max_bytes);
    assert_eq!(least.dead_letter_topic, full.dead_letter_topic);
    let hub = |configuration: &Configuration| {
        let hub = &configuration.hub;
        (hub.port, hub.keep_alive, hub.sas_lifetime, hub.window)
    };
    assert_eq!(hub(&least), hub(&full));
    assert_eq!(least.queue.when_full, WhenFull::DropOldest);
}

#[test]
fn an_identity_may_be_given_in_parts() {
    let configuration = load("parts.json").unwrap().configuration;
    let Ok(HubCredentials::KeyFile {
        name,
        device,
        module,
        ..
    }) = configuration.hub.credentials()
    else {
        panic!("{:?}", configuration.hub);
    };
    assert_eq!(
        (name, device, module),
        ("plant.azure-devices.net", "gate-7", Some("iothub"))
    );
    assert_eq!(
        configuration.subscriptions[0].destination(),
        Destination::Reported
    );
}

#[test]
fn every_problem_is_named_with_its_place_and_remedy() {
    let problems = load("bad.yaml").unwrap_err();
    let expected = [
        ("2:hub: ", "more than one identity; keep one of"),
        ("2:hub.connection_string.name: ", "is empty"),
        ("4:hub.host: ", "give it without scheme"),
        ("5:hub.keep_alive: ", "5s to 1177s"),
        ("6:hub.window: ", "1 to 1000"),
        ("9:queue.max_bytes: ", "4MiB to 64GiB"),
        ("12:subscriptions[1]: ", "repeats the subscription at 11:"),
        ("13:subscriptions[2].topic: ", "is the dead_letter_topic"),
        ("16:commands.allow[0].method: ", "APP.METHOD"),
        ("17:commands.allow[1].deadline: ", "100ms to 5m"),
        ("18:commands.allow[2].method: ", "repeats the entry at 17:"),
        (
            "19:dead_letter_topic: ",
            "is the same topic as config_topic",
        ),
        ("20:intake.reorder_wait: ", "0ms to 10s"),
        (
            "22:routes[0].when.topic: ",
            "events come from config, telemetry",
        ),
        ("23:routes[1].name: ", "is the name of the rule at 22:12"),
        ("23:routes[1].identity: ", "gives none a name"),
    ];
    for (place, words) in expected {
        let found = problems.iter().find(|problem| problem.starts_with(place));
        assert!(
            found.is_some_and(|problem| problem.contains(words)),
            "{place} {words}\nin {problems:#?}"
        );
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn unknown_keys_and_words_are_found() {
    let problems = load("unknown-key.yaml").unwrap_err().join("\n");
    assert!(
        problems.contains("hub.windw") || problems.contains("windw"),
        "{problems}"
    );
    assert!(problems.contains("queue.when_full"), "{problems}");
}
