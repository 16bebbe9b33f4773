//! What the schema cannot say about a configuration.

mod sending;

use std::collections::{BTreeSet, HashMap};

use module_runtime::configuration::{ByteSize, Duration};
use module_runtime::{Problems, path};

use iothub_protocol::HubIdentity;
use iothub_protocol::limits::{KEEP_ALIVE, METHOD_NAME_CHARS};
use routes::Surroundings;

use super::{Configuration, Destination, HubConfiguration};
use crate::methods;

pub(super) fn check(configuration: &Configuration, problems: &mut Problems) {
    hub(&configuration.hub, problems);
    queue(configuration, problems);
    subscriptions(configuration, problems);
    routes(configuration, problems);
    commands(configuration, problems);
    topics(configuration, problems);
    sending::check(configuration, problems);
    let intake = &configuration.intake;
    problems.check_range(
        path!["intake", "reorder_wait"],
        &intake.reorder_wait,
        Duration::from_millis(0)..=Duration::from_secs(60),
    );
    problems.check_range(
        path!["intake", "redelivery_wait"],
        &intake.redelivery_wait,
        Duration::from_millis(0)..=Duration::from_secs(300),
    );
    problems.check_range(
        path!["intake", "max_in_flight"],
        &intake.max_in_flight,
        8..=10_000,
    );
    problems.check_range(
        path!["twin", "report_interval"],
        &configuration.twin.report_interval,
        Duration::from_secs(1)..=Duration::from_secs(3600),
    );
}

fn hub(hub: &HubConfiguration, problems: &mut Problems) {
    if let Err(message) = hub.credentials() {
        problems.add(path!["hub"], message);
    }
    if let Some(secret) = &hub.connection_string {
        for (key, value) in [
            ("store", Some(&secret.store)),
            ("name", Some(&secret.name)),
            ("key", secret.key.as_ref()),
        ] {
            if value.is_some_and(String::is_empty) {
                problems.add(path!["hub", "connection_string", key], "is empty");
            }
        }
    }
    if let Some(device) = &hub.device
        && let Err(error) = HubIdentity::new(device, hub.module.as_deref())
    {
        problems.add(path!["hub", "device"], error.to_string());
    }
    for (key, host) in [("name", &hub.name), ("host", &hub.host)] {
        if let Some(host) = host {
            let plain = |c: char| {
                c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']')
            };
            if host.is_empty() || !host.chars().all(plain) {
                problems.add(
                    path!["hub", key],
                    "is not a host name; give it without scheme, port and path",
                );
            }
        }
    }
    if hub.port == 0 {
        problems.add(
            path!["hub", "port"],
            "0 is not a port; IoT Hub listens on 8883",
        );
    }
    let longest = Duration::from_secs(KEEP_ALIVE.as_secs());
    problems.check_range(
        path!["hub", "keep_alive"],
        &hub.keep_alive,
        Duration::from_secs(5)..=longest,
    );
    problems.check_range(
        path!["hub", "sas_lifetime"],
        &hub.sas_lifetime,
        Duration::from_secs(10)..=Duration::from_secs(86_400),
    );
    problems.check_range(path!["hub", "window"], &hub.window, 1..=1000);
}

fn queue(configuration: &Configuration, problems: &mut Problems) {
    let queue = &configuration.queue;
    if queue.path.file_name().is_none() {
        problems.add(
            path!["queue", "path"],
            "is not a file; give a path such as /var/lib/fieldgate/queue.db",
        );
    }
    problems.check_range(
        path!["queue", "max_bytes"],
        &queue.max_bytes,
        ByteSize::from_mib(4)..=ByteSize::from_mib(64 << 10),
    );
}

fn subscriptions(configuration: &Configuration, problems: &mut Problems) {
    if configuration.subscriptions.is_empty() {
        problems.add(
            path!["subscriptions"],
            "is empty; name at least one pubsub component and topic",
        );
    }
    let mut seen = HashMap::new();
    for (index, subscription) in configuration.subscriptions.iter().enumerate() {
        for (key, value) in [
            ("pubsub", &subscription.pubsub),
            ("topic", &subscription.topic),
        ] {
            if value.is_empty() {
                problems.add(path!["subscriptions", index, key], "is empty");
            }
        }
        if subscription.topic == configuration.dead_letter_topic {
            problems.add(
                path!["subscriptions", index, "topic"],
                "is the dead_letter_topic; what cannot be sent would come back for ever, so subscribe with another module",
            );
        }
        if let Some(first) = seen.insert((&subscription.pubsub, &subscription.topic), index) {
            let place = problems.location(path!["subscriptions", first]);
            problems.add(
                path!["subscriptions", index],
                format!("repeats the subscription at {place}; remove one"),
            );
        }
    }
}

fn routes(configuration: &Configuration, problems: &mut Problems) {
    let queued = configuration
        .subscriptions
        .iter()
        .filter(|subscription| subscription.destination() == Destination::Queue);
    let topics: BTreeSet<&str> = queued
        .map(|subscription| subscription.topic.as_str())
        .collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let names = configuration.identity_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let surroundings = Surroundings {
        identities: Some(&names),
        topics: Some(&topics),
    };
    routes::check(
        &configuration.routes,
        &path!["routes"],
        surroundings,
        problems,
    );
}

fn commands(configuration: &Configuration, problems: &mut Problems) {
    let mut seen = HashMap::new();
    for (index, allowed) in configuration.commands.allow.iter().enumerate() {
        let at = path!["commands", "allow", index, "method"];
        if methods::split(&allowed.method).is_none() {
            problems.add(at, "is not of the form APP.METHOD (letters, digits, '-' and '_'), such as modbus-reader.write");
        } else if allowed.method.len() > METHOD_NAME_CHARS {
            problems.add(
                at,
                format!("is longer than IoT Hub's limit of {METHOD_NAME_CHARS} characters"),
            );
        } else if let Some(first) = seen.insert(&allowed.method, index) {
            let place = problems.location(path!["commands", "allow", first]);
            problems.add(at, format!("repeats the entry at {place}; remove one"));
        }
        problems.check_range(
            path!["commands", "allow", index, "deadline"],
            &allowed.deadline,
            Duration::from_millis(100)..=Duration::from_secs(300),
        );
    }
}

fn topics(configuration: &Configuration, problems: &mut Problems) {
    let topics = [
        ("config_topic", &configuration.config_topic),
        ("commands_topic", &configuration.commands_topic),
        ("dead_letter_topic", &configuration.dead_letter_topic),
    ];
    for (index, (key, topic)) in topics.iter().enumerate() {
        if topic.is_empty() {
            problems.add(path![*key], "is empty");
        } else if let Some((other, _)) = topics
            .iter()
            .take(index)
            .find(|(_, before)| before == topic)
        {
            problems.add(
                path![*key],
                format!("is the same topic as {other}; give each its own"),
            );
        }
    }
}
