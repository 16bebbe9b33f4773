//! What the schema cannot say about `sending`.

use iothub_protocol::HubIdentity;
use module_runtime::configuration::{ByteSize, Duration};
use module_runtime::{Problems, path};

use crate::configuration::{
    BudgetConfiguration, Configuration, HubConfiguration, HubCredentials, WhenUsedUp,
};
use crate::pace::Priority;

/// Each has a connection, its buffers and its keys.
const IDENTITIES: usize = 15;

pub(super) fn check(configuration: &Configuration, problems: &mut Problems) {
    let sending = &configuration.sending;
    window(configuration, problems);
    watchdog(configuration, problems);
    problems.check_range(
        path!["sending", "backlog", "share"],
        &sending.backlog.share,
        0..=100,
    );
    if let Some(rate) = &sending.backlog.rate {
        problems.check_range(path!["sending", "backlog", "rate"], rate, 1..=100_000);
    }
    problems.check_range(
        path!["sending", "backlog", "live_wait"],
        &sending.backlog.live_wait,
        Duration::from_millis(50)..=Duration::from_secs(60),
    );
    problems.check_range(
        path!["sending", "fairness", "lower_share"],
        &sending.fairness.lower_share,
        0..=50,
    );
    if let Some(of) = &sending.budget {
        budget(of, problems);
    }
    identities(configuration, problems);
}

fn window(configuration: &Configuration, problems: &mut Problems) {
    let window = &configuration.sending.window;
    let client = configuration.hub.window;
    let most = window.max.unwrap_or(client);
    if let Some(max) = window.max {
        if max > client {
            let place = problems.location(path!["hub", "window"]);
            problems.add(
                path!["sending", "window", "max"],
                format!("{max} is more than hub.window allows ({client}, {place}); lower it, or raise hub.window"),
            );
        } else if max == 0 {
            problems.add(
                path!["sending", "window", "max"],
                "0 would send nothing; give 1 or more",
            );
        }
    }
    if window.min == 0 {
        problems.add(
            path!["sending", "window", "min"],
            "0 would send nothing; give 1 or more",
        );
    } else if most > 0 && window.min > most {
        problems.add(
            path!["sending", "window", "min"],
            format!(
                "{} is more than the greatest window, {most}; lower it",
                window.min
            ),
        );
    }
}

fn watchdog(configuration: &Configuration, problems: &mut Problems) {
    let watchdog = &configuration.sending.watchdog;
    problems.check_range(
        path!["sending", "watchdog", "floor"],
        &watchdog.floor,
        Duration::from_secs(1)..=Duration::from_secs(60),
    );
    problems.check_range(
        path!["sending", "watchdog", "ceiling"],
        &watchdog.ceiling,
        Duration::from_secs(5)..=Duration::from_secs(300),
    );
    if watchdog.floor > watchdog.ceiling {
        problems.add(
            path!["sending", "watchdog", "floor"],
            format!(
                "{} is longer than the ceiling, {}; lower it, or raise the ceiling",
                watchdog.floor, watchdog.ceiling
            ),
        );
    }
}

fn budget(budget: &BudgetConfiguration, problems: &mut Problems) {
    if budget.per_minute.is_none() && budget.per_month.is_none() {
        problems.add(
            path!["sending", "budget"],
            "has no bound; give per_minute, per_month or both, or leave budget out",
        );
    }
    if let Some(per_minute) = &budget.per_minute {
        problems.check_range(
            path!["sending", "budget", "per_minute"],
            per_minute,
            ByteSize::from_kib(4)..=ByteSize::from_mib(16 << 10),
        );
    }
    if let Some(per_month) = &budget.per_month {
        problems.check_range(
            path!["sending", "budget", "per_month"],
            per_month,
            ByteSize::from_mib(1)..=ByteSize::from_mib(1 << 30),
        );
    }
    if let Some(priority) = &budget.urgent_from {
        problems.check_range(
            path!["sending", "budget", "urgent_from"],
            priority,
            Priority::LOWEST.get()..=Priority::HIGHEST.get(),
        );
    } else if budget.when_used_up == WhenUsedUp::UrgentOnly {
        problems.add(
            path!["sending", "budget", "when_used_up"],
            "lets urgent events pass, but none are urgent; give urgent_from",
        );
    }
    problems.check_range(
        path!["sending", "budget", "urgent_reserve"],
        &budget.urgent_reserve,
        0..=90,
    );
}

fn identities(configuration: &Configuration, problems: &mut Problems) {
    let identities = &configuration.sending.identities;
    if identities.len() > IDENTITIES {
        problems.add(
            path!["sending", "identities"],
            format!(
                "has {} entries; at most {IDENTITIES} beside the one in hub",
                identities.len()
            ),
        );
    }
    let hubs: Vec<HubConfiguration> = identities
        .iter()
        .map(|identity| configuration.hub.with_identity(identity))
        .collect();
    for (index, hub) in hubs.iter().enumerate() {
        let at = path!["sending", "identities", index];
        let credentials = match hub.credentials() {
            Ok(credentials) => credentials,
            Err(message) => {
                problems.add(at, message);
                continue;
            }
        };
        if let HubCredentials::KeyFile { device, module, .. } = credentials
            && let Err(error) = HubIdentity::new(device, module)
        {
            problems.add(
                path!["sending", "identities", index, "device"],
                error.to_string(),
            );
        }
        let is_again = |other: &HubConfiguration| {
            other
                .credentials()
                .is_ok_and(|other| is_same(other, credentials))
        };
        if is_again(&configuration.hub) {
            problems.add(
                at,
                "is the identity in hub again, which is used anyway; remove it here",
            );
        } else if let Some(first) = hubs.iter().take(index).position(is_again) {
            let place = problems.location(path!["sending", "identities", first]);
            problems.add(at, format!("is the identity at {place} again; remove one"));
        }
    }
}

/// Two connections of one identity end each other.
fn is_same(one: HubCredentials<'_>, other: HubCredentials<'_>) -> bool {
    let id = |credentials| match credentials {
        HubCredentials::KeyFile {
            name,
            device,
            module,
            ..
        } => Some((name, device, module)),
        HubCredentials::Secret(_) | HubCredentials::ConnectionStringFile(_) => None,
    };
    one == other || id(one).is_some_and(|one| Some(one) == id(other))
}
