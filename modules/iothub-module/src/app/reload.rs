//! A changed configuration: what can change while the module runs does, the rest is reported.

use std::sync::Arc;

use module_runtime::{ConfigurationWatch, Loaded, StatusPublisher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::settings_of;
use crate::configuration::Configuration;
use crate::intake::Settings;

/// What a new configuration reaches.
#[derive(Debug)]
pub(super) struct Reload {
    /// The one that the module was started with.
    pub(super) first: Arc<Configuration>,
    pub(super) in_force: watch::Sender<Arc<Configuration>>,
    pub(super) settings: watch::Sender<Settings>,
    pub(super) restart: watch::Sender<Vec<&'static str>>,
}

impl Reload {
    pub(super) async fn run(
        self,
        mut watch: ConfigurationWatch<Configuration>,
        status: StatusPublisher,
        shutdown: CancellationToken,
    ) {
        loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => return,
                next = watch.next() => next,
            };
            match next {
                Ok(loaded) => {
                    self.apply(&loaded);
                    status.in_force(&loaded);
                }
                Err(error) => status.rejected(&error),
            }
        }
    }

    fn apply(&self, loaded: &Loaded<Configuration>) {
        let new = &loaded.configuration;
        let restart = self.first.restart_needed_for(new);
        if restart.is_empty() {
            tracing::info!(
                version = loaded.version,
                hash = loaded.hash,
                "new configuration in force"
            );
        } else {
            tracing::warn!(version = loaded.version, hash = loaded.hash, keys = ?restart, "new configuration in force in part: restart the module for the named keys");
        }
        self.settings.send_replace(settings_of(&self.first, new));
        self.restart.send_replace(restart);
        self.in_force.send_replace(Arc::clone(new));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DOCUMENT: &str = "hub: {connection_string_file: /secret}\nqueue: {path: /q/queue.db}\nsubscriptions: [{pubsub: p, topic: t}]\n";

    fn load(more: &str) -> Loaded<Configuration> {
        module_runtime::load_str("iothub.yaml", &format!("{DOCUMENT}{more}")).unwrap()
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let first = load("").configuration;
        let (in_force, in_force_now) = watch::channel(Arc::clone(&first));
        let (settings, settings_now) = watch::channel(settings_of(&first, &first));
        let (restart, restart_now) = watch::channel(Vec::new());
        let reload = Reload {
            first,
            in_force,
            settings,
            restart,
        };

        reload.apply(&load("commands: {allow: [{method: a.b}]}\nintake: {reorder_wait: 2s, max_in_flight: 100}\ndead_letter_topic: dead\nroutes: [{name: low, priority: 1}]\n"));
        assert_eq!(in_force_now.borrow().commands.allow.len(), 1);
        let now = settings_now.borrow().clone();
        assert_eq!(now.limits.reorder_wait, Duration::from_secs(2));
        assert_eq!(now.limits.held_events, 1000, "bounds of the start stay");
        let names: Vec<&str> = now.routes.all().map(|route| &*route.name).collect();
        assert_eq!(names, ["low", "default"]);
        assert_eq!(
            *restart_now.borrow(),
            ["dead_letter_topic", "intake.max_in_flight"]
        );

        reload.apply(&load(""));
        assert!(
            restart_now.borrow().is_empty(),
            "back to what the module was started with"
        );
    }
}
