//! Asks the host how it is, does what the desired properties want, and tells of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::{Code, Command, Fault, Origin, Status, UpdateRequest};
use module_runtime::{CancellationToken, Delivery, HealthFlag, StatusPublisher};
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::configuration::Configuration;
use crate::desired::{Desired, Taken};
use crate::host::{self, HostError};
use crate::metrics::{CONFIG_EVENTS, HOST_AVAILABLE, UPDATES};
use crate::plan::{Plan, Standing, Step, plan};
use crate::view;

/// Changes of the desired properties in flight.
pub const BUFFER: usize = 32;
/// What has changed several times meanwhile is looked at as a whole: an update that nobody wants any more is not begun.
const GATHERING: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// While there is no host, or something waits for it.
const SOON: Duration = Duration::from_secs(10);
/// After the host did not do what it was asked.
const FAILED: Duration = Duration::from_secs(60);
/// While an update is being installed.
const RUNNING: Duration = Duration::from_secs(5);
/// While a new system is tried.
const TRIED: Duration = Duration::from_secs(30);

/// The module's own work beside its commands.
#[derive(Debug)]
pub struct Agent {
    /// The one in force.
    pub configuration: watch::Receiver<Arc<Configuration>>,
    /// Whether the host answers.
    pub health: HealthFlag,
    /// What the device is like.
    pub status: StatusPublisher,
    /// A command has changed something.
    pub look: Arc<Notify>,
    /// What the desired properties want.
    pub desired: Desired,
    /// Changes that the host does not know of yet: the broker keeps them, should this process end before.
    pub held: Vec<Delivery>,
    /// What the host will never take, by the bundle's id, and why.
    pub refused: Option<(String, String)>,
}

impl Agent {
    /// Works until `shutdown`.
    pub async fn run(mut self, mut events: mpsc::Receiver<Delivery>, shutdown: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = shutdown.cancelled() => return,
                pause = self.round() => pause,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.look.notified() => {}
                // An error is of a sender that is gone, together with the runtime.
                Ok(()) = self.configuration.changed() => {}
                Some(delivery) = events.recv(), if self.held.len() < BUFFER => {
                    self.take(delivery);
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.gather(&mut events) => {}
                    }
                }
            }
        }
    }

    async fn gather(&mut self, events: &mut mpsc::Receiver<Delivery>) {
        let end = Instant::now() + GATHERING.1;
        while self.held.len() < BUFFER && Instant::now() < end {
            match timeout(GATHERING.0, events.recv()).await {
                Ok(Some(delivery)) => self.take(delivery),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
        metrics::counter!(CONFIG_EVENTS.name).increment(1);
        match self.desired.take(&delivery.body) {
            Ok(Taken::News) => {
                self.refused = None;
                self.held.push(delivery);
            }
            Ok(Taken::Repeated) => self.held.push(delivery),
            Ok(Taken::Other) => delivery.accept(),
            Err(reason) => {
                tracing::warn!(reason, "an event on the configuration topic is left alone");
                delivery.reject();
            }
        }
    }

    /// Looks, acts, tells. The time until the next one.
    async fn round(&mut self) -> Duration {
        let socket = self.configuration.borrow().socket.clone();
        let mut status = match host::status(&socket).await {
            Ok(status) => status,
            Err(error) => {
                metrics::gauge!(HOST_AVAILABLE.name).set(0.0);
                self.health.not_ready(error.to_string());
                return SOON;
            }
        };
        metrics::gauge!(HOST_AVAILABLE.name).set(1.0);
        self.health.ready();
        let mut plan = self.plan(&status);
        let mut failed = false;
        let is_settled = match self.act(&socket, &plan.step).await {
            Ok(false) => !matches!(plan.standing, Standing::Waiting),
            Ok(true) => {
                // What has begun is told at once.
                if let Ok(now) = host::status(&socket).await {
                    status = now;
                    plan = self.plan(&status);
                }
                true
            }
            Err(error) => {
                plan.reason = Some(error.to_string());
                failed = true;
                false
            }
        };
        if is_settled {
            self.held.drain(..).for_each(Delivery::accept);
        }
        let details = view::details(&status, self.desired.wanted(), &plan);
        self.status.details(details);
        if failed {
            FAILED
        } else {
            self.pause(&status, &plan)
        }
    }

    fn plan(&self, status: &Status) -> Plan {
        let mut plan = plan(self.desired.wanted(), status, OffsetDateTime::now_utc());
        if let (Step::Install(bundle), Some((id, reason))) = (&plan.step, &self.refused)
            && bundle.id() == *id
        {
            plan = Plan {
                step: Step::Rest,
                standing: Standing::GivenUp,
                reason: Some(reason.clone()),
            };
        }
        plan
    }

    /// Whether something was done.
    async fn act(&mut self, socket: &Path, step: &Step) -> Result<bool, HostError> {
        let command = match step {
            Step::Rest => return Ok(false),
            Step::Retry { after, .. } if !after.is_zero() => return Ok(false),
            Step::Retry { id, .. } => Command::Retry { id: id.clone() },
            Step::Forget { id } => Command::Forget { id: id.clone() },
            Step::Install(bundle) => Command::Update(UpdateRequest {
                bundle: bundle.clone(),
                origin: Origin::Desired,
            }),
        };
        let result = host::ask(socket, &command).await;
        match (&result, step) {
            (Ok(_), Step::Install(_) | Step::Retry { .. }) => {
                tracing::info!(
                    command = command.name(),
                    "the update that the desired properties want has begun"
                );
                metrics::counter!(UPDATES.name, "origin" => "desired").increment(1);
            }
            (Ok(_), _) => {}
            (Err(HostError::Refused(fault)), Step::Install(bundle)) if is_final(fault) => {
                tracing::warn!(reason = %fault, "the host refuses what the desired properties want");
                self.refused = Some((bundle.id(), fault.to_string()));
                return Ok(true);
            }
            (Err(error), _) => {
                tracing::warn!(command = command.name(), reason = %error, "the host did not do it; it is asked again");
            }
        }
        result.map(|_| true)
    }

    fn pause(&self, status: &Status, plan: &Plan) -> Duration {
        let interval = self.configuration.borrow().interval.get();
        if !self.held.is_empty() {
            return SOON;
        }
        let is_running = status
            .request
            .as_ref()
            .is_some_and(|request| request.state == agent_protocol::RequestState::Running);
        if is_running {
            return RUNNING;
        }
        let last = status.system["last"]["result"].as_str();
        if matches!(last, Some("installing" | "installed")) {
            return TRIED.min(interval);
        }
        match &plan.step {
            // Not asked for in vain: the host rounds to seconds.
            Step::Retry { after, .. } => (*after + Duration::from_secs(1)).min(interval),
            _ => interval,
        }
    }
}

/// Whether asking again is of no use.
fn is_final(fault: &Fault) -> bool {
    matches!(
        fault.code,
        Code::InvalidInput | Code::UnknownVersion | Code::UnknownCommand | Code::NotHere
    )
}
