//! A module's state as an event: published when it changes and once a minute.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use measurement::{GenericEvent, STATUS_TYPE, event_source, rfc3339_micros};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::configuration::{ConfigurationError, Loaded};
use crate::health::Health;
use crate::sidecar::{OutgoingEvent, Sidecar};

/// The topic of status events.
pub const TOPIC: &str = "status";
/// Without a change the state is published this often.
pub const REPEAT: Duration = Duration::from_secs(60);
/// Changes within this time go out as one.
pub const AT_MOST_EVERY: Duration = Duration::from_secs(1);

const LONGEST_WAIT: Duration = Duration::from_secs(30);
const MOST_ERRORS: usize = 10;
/// A twin's string is at most 4 KiB; ten errors have to leave room for the rest.
const LONGEST_ERROR: usize = 300;

/// Who publishes.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// The appliance's name.
    pub appliance: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// The pub/sub component to publish through.
    pub pubsub: String,
}

/// Collects a module's state and publishes it. Clones share one state.
#[derive(Debug, Clone)]
pub struct StatusPublisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    publisher: Publisher,
    started: OffsetDateTime,
    health: Health,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    configuration: Map<String, Value>,
    details: Value,
}

impl StatusPublisher {
    /// Starts publishing until `stop`; the task is the caller's to wait for.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(
        sidecar: Arc<dyn Sidecar>,
        publisher: Publisher,
        health: Health,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let status = Self::new(publisher, health);
        let task = tokio::spawn(run(status.clone(), sidecar, stop));
        (status, task)
    }

    fn new(publisher: Publisher, health: Health) -> Self {
        Self {
            shared: Arc::new(Shared {
                publisher,
                started: OffsetDateTime::now_utc(),
                health,
                state: Mutex::default(),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// A configuration is in force.
    pub fn in_force<C>(&self, loaded: &Loaded<C>) {
        self.change(|state| {
            state.configuration = Map::from_iter([
                ("name".to_owned(), json!(loaded.name)),
                ("version".to_owned(), json!(loaded.version)),
                ("hash".to_owned(), json!(loaded.hash)),
                ("state".to_owned(), json!("in-force")),
                ("errors".to_owned(), json!([])),
            ]);
        });
    }

    /// A new configuration was rejected; the one before stays in force. Every problem is logged, ten are published.
    pub fn rejected(&self, error: &ConfigurationError) {
        error.log_rejected();
        self.record_rejected(error);
    }

    /// [`Self::rejected`] for problems that were logged when they were found.
    pub(crate) fn record_rejected(&self, error: &ConfigurationError) {
        let errors: Vec<String> = error
            .problems
            .iter()
            .take(MOST_ERRORS)
            .map(|problem| problem.to_string().chars().take(LONGEST_ERROR).collect())
            .collect();
        self.change(|state| {
            let configuration = &mut state.configuration;
            configuration.insert("state".to_owned(), json!("rejected"));
            configuration.insert("rejected_hash".to_owned(), json!(error.hash));
            configuration.insert("error_count".to_owned(), json!(error.problems.len()));
            configuration.insert("errors".to_owned(), json!(errors));
        });
    }

    /// The module's own part of its status.
    pub fn details(&self, details: Value) {
        self.change(|state| state.details = details);
    }

    /// What is published.
    pub fn data(&self) -> Value {
        let shared = &self.shared;
        let reasons = shared.health.reasons();
        let state = self.state();
        json!({
            "module": shared.publisher.module,
            "version": shared.publisher.version,
            "started": rfc3339_micros(shared.started),
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "configuration": state.configuration,
            "details": state.details,
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let changed = {
            let mut state = self.state();
            let before = (state.configuration.clone(), state.details.clone());
            change(&mut state);
            before != (state.configuration.clone(), state.details.clone())
        };
        if changed {
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }

    fn event(&self, data: &Value) -> Result<OutgoingEvent, serde_json::Error> {
        let publisher = &self.shared.publisher;
        let source = event_source(&publisher.appliance, &publisher.module);
        let event = GenericEvent {
            id: None,
            source: &source,
            kind: STATUS_TYPE,
            subject: Some(&publisher.module),
            partition_key: Some(&publisher.module),
            time: OffsetDateTime::now_utc(),
        }
        .render(data)?;
        Ok(OutgoingEvent {
            id: event.id,
            body: event.body,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(status: StatusPublisher, sidecar: Arc<dyn Sidecar>, stop: CancellationToken) {
    let mut changes = status.shared.changes.subscribe();
    let mut health = status.shared.health.changes();
    let mut published: Option<Value> = None;
    let mut due = Instant::now();
    let mut wait = AT_MOST_EVERY;
    loop {
        // The first status and a failed one wait only for their time, the others also for a change.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
            _ = changes.changed(), if published.is_some() => {}
            _ = health.changed(), if published.is_some() => {}
        }
        if published.is_some() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AT_MOST_EVERY) => {}
            }
        }
        changes.mark_unchanged();
        health.mark_unchanged();
        let data = status.data();
        if published.as_ref() == Some(&data) && Instant::now() < due {
            continue;
        }
        let sent = tokio::select! {
            () = stop.cancelled() => return,
            sent = publish(&status, &*sidecar, &data) => sent,
        };
        match sent {
            Ok(()) => {
                published = Some(data);
                wait = AT_MOST_EVERY;
                due = Instant::now() + REPEAT;
            }
            Err(reason) => {
                tracing::debug!(reason, again_in = ?wait, "status not published");
                published = None;
                due = Instant::now() + wait;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

async fn publish(
    status: &StatusPublisher,
    sidecar: &dyn Sidecar,
    data: &Value,
) -> Result<(), String> {
    let event = status.event(data).map_err(|error| error.to_string())?;
    let pubsub = &status.shared.publisher.pubsub;
    let report = sidecar
        .publish(pubsub, TOPIC, std::slice::from_ref(&event))
        .await
        .map_err(|error| error.to_string())?;
    match report.failed.into_iter().next() {
        None => Ok(()),
        Some((_, reason)) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Problem;
    use crate::test_support::TestSidecar;

    struct Setup {
        status: StatusPublisher,
        health: Health,
        sidecar: Arc<TestSidecar>,
        seen: usize,
        _stop: tokio_util::sync::DropGuard,
    }

    impl Setup {
        fn new(failures: usize) -> Self {
            let sidecar = TestSidecar::new();
            sidecar.fail_next(failures);
            let publisher = Publisher {
                appliance: "gate-7".to_owned(),
                module: "modbus-reader".to_owned(),
                version: "0.1.0".to_owned(),
                pubsub: "pubsub".to_owned(),
            };
            let health = Health::new();
            let stop = CancellationToken::new();
            let publishing: Arc<dyn Sidecar> = Arc::<TestSidecar>::clone(&sidecar);
            let (status, _) =
                StatusPublisher::start(publishing, publisher, health.clone(), stop.clone());
            Self {
                status,
                health,
                sidecar,
                seen: 0,
                _stop: stop.drop_guard(),
            }
        }

        async fn next_event(&mut self) -> Value {
            let (topic, event) = self.sidecar.publication(self.seen).await;
            assert_eq!(topic, TOPIC);
            self.seen += 1;
            event
        }
    }

    fn loaded() -> Loaded<()> {
        Loaded {
            configuration: Arc::new(()),
            name: "line-4".to_owned(),
            version: "3".to_owned(),
            hash: "abc".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_an_event_with_the_configuration_in_force() {
        let mut setup = Setup::new(0);
        setup.status.in_force(&loaded());
        setup.status.details(json!({"devices": 3}));
        let event = setup.next_event().await;
        assert_eq!(event["type"], STATUS_TYPE);
        assert_eq!(event["source"], "/fieldgate/gate-7/modbus-reader");
        let data = &event["data"];
        assert_eq!(data["module"], "modbus-reader");
        assert_eq!(data["ready"], true);
        assert_eq!(data["configuration"]["state"], "in-force");
        assert_eq!(data["configuration"]["version"], "3");
        assert_eq!(data["details"]["devices"], 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_configuration_shows_both() {
        let mut setup = Setup::new(0);
        setup.status.in_force(&loaded());
        let problem = Problem {
            file: "a.yaml".to_owned(),
            line: 1,
            column: 2,
            path: "level".to_owned(),
            message: "x".repeat(1000),
        };
        setup.status.rejected(&ConfigurationError {
            problems: vec![problem; 12],
            hash: Some("def".to_owned()),
        });
        let event = setup.next_event().await;
        let configuration = &event["data"]["configuration"];
        assert_eq!(configuration["state"], "rejected");
        assert_eq!(configuration["hash"], "abc");
        assert_eq!(configuration["rejected_hash"], "def");
        assert_eq!(configuration["error_count"], 12);
        assert_eq!(configuration["errors"].as_array().unwrap().len(), 10);
        assert!(configuration["errors"][0].as_str().unwrap().len() <= LONGEST_ERROR);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_go_out_together_and_at_most_once_a_second() {
        let mut setup = Setup::new(0);
        setup.next_event().await;
        let began = Instant::now();
        let flag = setup.health.component("line-1");
        flag.not_ready("no route");
        setup.status.details(json!(1));
        setup.status.details(json!(2));
        let event = setup.next_event().await;
        assert_eq!(event["data"]["details"], 2);
        assert_eq!(event["data"]["reasons"]["line-1"], "no route");
        assert!(began.elapsed() >= AT_MOST_EVERY);
        // Then nothing until the repeat.
        setup.next_event().await;
        assert!(began.elapsed() >= REPEAT, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_failed_is_published_again() {
        let mut setup = Setup::new(3);
        let event = setup.next_event().await;
        assert_eq!(event["data"]["module"], "modbus-reader");
    }
}
