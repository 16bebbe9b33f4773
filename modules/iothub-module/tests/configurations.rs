//! The documents in `configurations/`: what holds, and what is said about what does not.

use std::path::PathBuf;
use std::time::Duration;

use iothub_module::configuration::{Configuration, Destination, HubCredentials, WhenFull};
use iothub_module::pace::{BudgetOptions, Priority, WindowBounds};
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
    assert_eq!(least.sending, full.sending);
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
fn the_defaults_fit_what_the_broker_is_told() {
    let configuration = load("least.yaml").unwrap().configuration;
    let intake = &configuration.intake;
    assert!(
        intake.reorder_wait.get() >= 2 * broker_setup::ACK_WAIT,
        "what a killed sidecar held comes too late"
    );
    let may_wait = u32::try_from(intake.max_in_flight * 2 / 3).unwrap();
    assert!(
        may_wait >= broker_setup::MAX_ACK_PENDING,
        "events are given back for want of room"
    );
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
        ("20:intake.reorder_wait: ", "0ms to 1m"),
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
fn how_events_are_sent_can_be_said_in_full() {
    let configuration = load("sending.yaml").unwrap().configuration;
    let sending = &configuration.sending;
    let bounds = WindowBounds {
        least: 2,
        most: 128,
    };
    assert_eq!(sending.window_bounds(configuration.hub.window), bounds);
    assert_eq!(sending.watchdog_bounds().ceiling, Duration::from_secs(60));
    assert_eq!(sending.schedule_options().backlog_rate, Some(500));
    let budget = BudgetOptions {
        per_minute: Some(1 << 20),
        per_month: Some(2 << 30),
        urgent_from: Priority::new(8),
        urgent_reserve: 20,
        urgent_beyond: true,
    };
    assert_eq!(sending.budget_options(), budget);
    let hubs: Vec<_> = sending
        .identities
        .iter()
        .map(|identity| configuration.hub.with_identity(identity))
        .collect();
    assert!(hubs.iter().all(|hub| hub.window == 200));
    let names: Vec<_> = hubs.iter().map(|hub| hub.credentials().unwrap()).collect();
    assert!(
        matches!(
            names[..],
            [
                HubCredentials::KeyFile {
                    name: "plant.azure-devices.net",
                    device: "gate-7",
                    module: Some("s1"),
                    ..
                },
                HubCredentials::KeyFile {
                    device: "gate-7-b",
                    module: None,
                    ..
                },
                HubCredentials::ConnectionStringFile(_),
                HubCredentials::Secret(_),
            ]
        ),
        "{names:?}"
    );
}

#[test]
fn without_a_word_about_sending_the_window_is_the_clients_and_no_byte_is_counted() {
    let configuration = load("least.yaml").unwrap().configuration;
    let bounds = WindowBounds { least: 1, most: 64 };
    assert_eq!(configuration.sending.window_bounds(64), bounds);
    let budget = configuration.sending.budget_options();
    assert_eq!((budget.per_minute, budget.per_month), (None, None));
}

#[test]
fn every_problem_of_sending_is_named_with_its_place_and_remedy() {
    let problems = load("sending-bad.yaml").unwrap_err();
    let expected = [
        ("6:sending.window.min: ", "give 1 or more"),
        ("7:sending.window.max: ", "more than hub.window allows (64"),
        ("9:sending.watchdog.floor: ", "longer than the ceiling, 40s"),
        ("12:sending.backlog.share: ", "0 to 100"),
        ("13:sending.backlog.rate: ", "1 to 100000"),
        ("14:sending.backlog.live_wait: ", "50ms to 1m"),
        ("16:sending.fairness.lower_share: ", "0 to 50"),
        ("18:sending.budget.per_minute: ", "4KiB to 16GiB"),
        ("19:sending.budget.per_month: ", "1MiB to 1048576GiB"),
        ("20:sending.budget.urgent_reserve: ", "0 to 90"),
        ("21:sending.budget.when_used_up: ", "give urgent_from"),
        ("23:sending.identities[0]: ", "is the identity in hub again"),
        ("25:sending.identities[2]: ", "is the identity at 24:"),
        ("26:sending.identities[3].device: ", "'/'"),
        (
            "27:sending.identities[4]: ",
            "needs all of name, device and key_file",
        ),
        ("28:sending.identities[5]: ", "no identity; give one of"),
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
